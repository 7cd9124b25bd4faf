"""Ctrl-C once saves and leaves; twice abandons. On the inline backend, with real signals."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ablate.ledger import Event, Ledger
from ablate.sweep.driver import Driver
from ablate.sweep.inline import run_inline
from ablate.sweep.signals import two_stages
from ablate.trial import EpochReport
from tests.search.synthetic import sweep
from tests.sweep.fake_trial import FakeTrial

run = partial(run_inline, cache=None, threads=1)


class Interrupted(FakeTrial):
    """Each of its epochs from the second on is interrupted as often as ``times`` says."""

    times = 1

    def step(self) -> EpochReport:
        report = super().step()
        for _ in range(self.times if self.epoch >= 2 else 0):
            signal.raise_signal(signal.SIGINT)
        return report


class InterruptedTwice(Interrupted):
    times = 2


def events(folder: Path) -> list[Event]:
    return Ledger.read(folder / "ledger.jsonl")


def finished(folder: Path) -> list[tuple[Any, ...]]:
    return [(e["trial"], e["state"], e["metrics"]) for e in events(folder) if e["event"] == "finished"]


def test_the_first_signal_saves_the_running_trial_and_resume_goes_on_from_there(tmp_path: Path) -> None:
    spec = sweep(trials=3, epochs=4)
    with Driver(spec, tmp_path / "whole") as driver:
        run(driver, make_trial=FakeTrial)
    with Driver(spec, tmp_path) as driver:
        with two_stages(driver.drain):
            run(driver, make_trial=Interrupted)
        assert not driver.finished
    assert [e["epoch"] for e in events(tmp_path / "s") if e["event"] == "checkpointed"][-1] == 2
    with Driver.resume("s", tmp_path) as driver:
        run(driver, make_trial=FakeTrial)
    assert finished(tmp_path / "s") == finished(tmp_path / "whole" / "s")
    reported = [(e["trial"], e["epoch"]) for e in events(tmp_path / "s") if e["event"] == "reported"]
    assert len(reported) == len(set(reported))


def test_the_second_signal_abandons(tmp_path: Path) -> None:
    with Driver(sweep(), tmp_path) as driver, two_stages(driver.drain), pytest.raises(KeyboardInterrupt):
        run(driver, make_trial=InterruptedTwice)


def test_what_a_shell_runs_in_the_background_is_abandoned_too() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with two_stages(lambda: None):
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("before", ["SIG_DFL", "SIG_IGN"])
def test_a_second_sigterm_ends_the_process(before: str) -> None:
    script = (
        "import signal\n"
        "from ablate.sweep.signals import two_stages\n"
        f"signal.signal(signal.SIGTERM, signal.{before})\n"
        "with two_stages(lambda: None):\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    print('once', flush=True)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    print('twice', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "once\n")


def test_sigterm_drains_too_and_the_handlers_are_given_back(tmp_path: Path) -> None:
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with Driver(sweep(), tmp_path) as driver:
        with two_stages(driver.drain):
            signal.raise_signal(signal.SIGTERM)
            assert driver.draining
        run(driver, make_trial=FakeTrial)
        assert not driver.finished
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_it_does_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def look() -> None:
        with two_stages(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]
