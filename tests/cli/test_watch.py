"""`ablate watch`, run as a user runs it: a process that serves the report until Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ablate.cli.watch import app
from ablate.ledger import Ledger
from tests.report.live.test_follow import write
from tests.report.made_sweep import Made

Start = Callable[..., tuple["subprocess.Popen[str]", str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts the command; gives the process and what it said up to its address."""
    running: list[subprocess.Popen[str]] = []

    def begin(*words: str | Path) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-c", "from ablate.cli.watch import app; app()", *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload]
        running.append(process)
        said = ""
        while "http://" not in said:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            said += line
        return process, said

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def address(said: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+", said)
    assert found is not None, said
    return found.group()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as response:
        return str(response.read().decode())


def until(url: str, words: str) -> str:
    """The page, once it says ``words``; the limit on a test is the limit here."""
    while words not in (text := get(url)):
        time.sleep(0.1)
    return text


def test_a_running_sweep_is_shown_from_before_its_first_trial_on_and_never_touched(
    tmp_path: Path, start: Start
) -> None:
    made = Made().search()
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps(made.sweep.as_dict()))
    process, said = start("made", "--runs", tmp_path, "--port", "18421")
    assert "nothing has happened yet" in get(address(said))
    here, there = (os.getpriority(os.PRIO_PROCESS, which) for which in (0, process.pid))
    assert there == min(here + 10, 19)
    with_driver = Ledger.open(folder / "ledger.jsonl")
    write(with_driver, made.events[:1])  # opened, and no trial yet
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    text = until(address(said), "0 of the 0 trials")
    assert "Running: process" in text
    write(with_driver, made.events[1:])
    text = until(address(said), "of the 4 trials")
    assert 'id="run-t0000"' in text
    changed = {p for p in folder.rglob("*") if before.get(p) != p.stat().st_mtime_ns}
    assert changed <= {folder / "ledger.jsonl"}
    with_driver.close()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def test_a_busy_port_is_told_and_another_taken(tmp_path: Path, start: Start) -> None:
    Made().search().write(tmp_path / "made")
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        _, said = start("made", "--runs", tmp_path, "--port", port)
    assert said.startswith(f"Port {port} cannot be had; taking ")
    assert f":{port}" not in address(said)


def test_an_unknown_sweep_is_refused_with_what_there_is(tmp_path: Path) -> None:
    Made().write(tmp_path / "made")
    result = CliRunner().invoke(app, ["nothing", "--runs", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr == f"{tmp_path}/nothing: no such sweep (found in {tmp_path}: made)\n"
