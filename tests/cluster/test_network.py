"""What of a sweep on Ray can be reached, by whom and with what; and where its token ends up."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from tests.cluster.sockets import Listener, exposed, family, listeners, private
from tests.cluster.under_way import GO, WAITING

ROOT = Path(__file__).parents[2]
CANARIES = {
    "AWS_SECRET_ACCESS_KEY": "canary-of-the-bucket-93ab",
    "MLFLOW_TRACKING_PASSWORD": "canary-of-mlflow-e20d",
}
JOB = b'{"entrypoint": "true"}'
CONNECT = """
import sys
from ablate.sweep.desk import SweepError
from ablate.sweep.ray_backend import connected
try:
    with connected(sys.argv[1]):
        import ray
        print("nodes:", len(ray.nodes()))
except SweepError as error:
    print("refused:", error)
"""


@dataclass
class Seen:
    """What was found out while the sweep stood still, and what was left when it was over."""

    listeners: list[Listener] = field(default_factory=list)
    jobs: dict[str, set[int]] = field(default_factory=dict)  # who asks -> HTTP statuses of all ports
    submitted: dict[str, set[int]] = field(default_factory=dict)
    connected: dict[str, str] = field(default_factory=dict)
    token: str = ""
    ended: int = 0
    left: dict[str, bytes] = field(default_factory=dict)  # by name: files of the sweep, logs of Ray, output


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    # Not in pytest's folder: the names of Ray's Unix sockets must not be long.
    folder = Path(tempfile.mkdtemp(prefix="uw-"))
    for name in ("home", "stranger", "impostor/.ray"):
        (folder / name).mkdir(parents=True)
    (folder / "impostor/.ray/auth_token").write_text("0" * 64)
    try:
        yield _look(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _look(folder: Path) -> Seen:
    found, words = Seen(), [sys.executable, "-m", "tests.cluster.under_way", str(folder)]
    with (folder / "printed.txt").open("wb") as out:
        process = subprocess.Popen(
            words,
            cwd=ROOT,
            env=_user(folder / "home", RAY_TMPDIR=str(folder), **CANARIES),
            stdout=out,
            stderr=out,
        )
    try:
        while not (folder / WAITING).exists():
            assert process.poll() is None, (folder / "printed.txt").read_text()
            time.sleep(0.1)
        found.listeners = listeners(family(process.pid))
        found.token = (folder / "home/.ray/auth_token").read_text()
        tokens = {"nobody": "", "a wrong token": "0" * 64, "the token": found.token}
        ports = sorted({each.port for each in found.listeners if each.protocol == "tcp"})
        with ThreadPoolExecutor(len(ports)) as at_once:  # many say nothing at all
            of_jobs = [port for port, status in zip(ports, at_once.map(_ask, ports), strict=True) if status]
        for who, token in tokens.items():
            found.jobs[who] = {_ask(port, token, patience=30) for port in of_jobs}
        for who in ("nobody", "a wrong token"):
            found.submitted[who] = {_ask(port, tokens[who], JOB, patience=30) for port in of_jobs}
        address = (folder / WAITING).read_text()
        trying = {who: _connect(address, folder / who) for who in ("stranger", "impostor", "home")}
        found.connected = {who: _became(attempt) for who, attempt in trying.items()}
        (folder / GO).touch()
        found.ended = process.wait()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
    places = [
        path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(folder / "home")
    ]
    found.left = {str(path.relative_to(folder)): path.read_bytes() for path in places}
    return found


def _user(home: Path, **more: str) -> dict[str, str]:
    """The environment of one who has this home folder, and logged in just now."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "AWS_", "MLFLOW_"))}
    return {**kept, "HOME": str(home), **more}


def _ask(port: int, token: str = "", body: bytes | None = None, patience: float = 10) -> int:
    """List the jobs, or submit one, at a port; the status, 0 if what listens there knows of no jobs: it does
    not speak HTTP, or tells the same metrics whatever it is asked."""
    header = {"Authorization": f"Bearer {token}"} if token else {}
    request = Request(
        f"http://127.0.0.1:{port}/api/jobs/", body, {**header, "Content-Type": "application/json"}
    )
    try:
        with urlopen(request, timeout=patience) as answer:
            return int(answer.status) if answer.headers.get_content_type() == "application/json" else 0
    except HTTPError as error:
        return error.code
    except (URLError, OSError, ValueError):
        return 0
    except Exception:  # http.client has many words for what is no HTTP
        return 0


def _connect(address: str, home: Path) -> subprocess.Popen[str]:
    """A user's attempt to be part of the cluster."""
    words, env = [sys.executable, "-c", CONNECT, address], _user(home, RAY_AUTH_MODE="token")
    return subprocess.Popen(
        words, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _became(attempt: subprocess.Popen[str]) -> str:
    out, err = attempt.communicate()
    assert attempt.returncode == 0, err
    return out.strip().splitlines()[-1]


def test_a_sweep_on_this_machine_listens_on_loopback_only(seen: Seen) -> None:
    names = {each.process for each in seen.listeners}
    assert {"gcs_server", "raylet"} <= names
    assert len([each for each in seen.listeners if each.process.startswith("ray::")]) >= 2, "the gang"
    assert [each for each in seen.listeners if not each.on_loopback] == []


def test_without_the_token_jobs_are_neither_listed_nor_submitted(seen: Seen) -> None:
    assert 200 in seen.jobs["the token"]
    assert 401 in seen.jobs["nobody"]
    assert 403 in seen.jobs["a wrong token"]
    for statuses in (seen.jobs["nobody"], seen.jobs["a wrong token"], *seen.submitted.values()):
        assert not {status for status in statuses if status < 400}


def test_without_the_token_nobody_joins_the_cluster_and_is_told_why(seen: Seen) -> None:
    assert seen.connected["home"] == "nodes: 1"
    for who in ("stranger", "impostor"):
        assert seen.connected[who].startswith("refused: cannot use the Ray cluster at ")
        assert "token" in seen.connected[who]


def test_the_token_and_keys_are_in_no_file_of_the_sweep_nor_in_rays_logs(seen: Seen) -> None:
    assert seen.ended == 0, seen.left["printed.txt"].decode()
    assert any("gcs_server" in name for name in seen.left), "Ray's logs are looked at"
    assert "runs/mlflow.db" in seen.left
    for secret in (seen.token, *CANARIES.values()):
        assert [name for name, content in seen.left.items() if secret.encode() in content] == []


def test_a_socket_on_every_interface_is_judged_by_the_addresses_of_its_machine() -> None:
    everywhere = Listener(1, "gcs_server", "tcp", "0.0.0.0", 6379)
    mapped = Listener(1, "java", "tcp", "::ffff:127.0.0.1", 1)
    public = Listener(1, "sshd", "tcp", "8.8.8.8", 22)
    assert exposed([everywhere, mapped], ["127.0.0.1", "10.0.0.4", "fe80::1", "fd00::1"]) == []
    assert exposed([everywhere, mapped, public], ["127.0.0.1", "8.8.8.8"]) == [everywhere, public]
    assert mapped.on_loopback
    assert not everywhere.on_loopback
    assert not private("0.0.0.0")
