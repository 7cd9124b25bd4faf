"""Servers for tests: MLflow's, and PostgreSQL; both on loopback, for as long as a block lasts."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ablate.tracking.ui import HOST

_PLACES = "/usr/lib/postgresql/*/bin"
_USER = "postgres"  # the server refuses to run as root
_PATIENCE = 120.0  # seconds


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], ready: str, **environment: str) -> Iterator[None]:
    """The command in a session of its own, from when it says ``ready`` until the block ends."""
    process = subprocess.Popen(
        command,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if ready in line:
                break
        else:
            raise AssertionError("the server ended: " + "".join(said))
        # A full pipe would stop the server in the middle of what it has to say.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(_PATIENCE)


@contextmanager
def mlflow_server(store: str, artifacts: Path, port: int) -> Iterator[str]:
    """MLflow's own server, as an administrator would start it; yields its URL."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", store, "--artifacts-destination", artifacts.as_uri()]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with running(command, "Uvicorn running", **quiet):
        yield f"http://{HOST}:{port}"


@contextmanager
def serving_ui(runs: Path, port: int) -> Iterator[str]:
    """`ablate ui` of a folder of runs; yields its URL."""
    code = "import sys, pathlib; from ablate.tracking import serve_ui; "
    code += "serve_ui(pathlib.Path(sys.argv[1]), int(sys.argv[2]))"
    with running([sys.executable, "-c", code, str(runs), str(port)], "Uvicorn running"):
        yield f"http://{HOST}:{port}"


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server with an empty database, which asks for a password; yields its URI. Skips the test
    where there is none."""
    pytest.importorskip("psycopg2", reason="no driver for PostgreSQL: pip install psycopg2-binary")
    found = sorted(Path("/").glob(f"{_PLACES.strip('/')}/postgres"))
    if not found:
        pytest.skip(f"no PostgreSQL in {_PLACES} (apt-get install postgresql)")
    with tempfile.TemporaryDirectory(prefix="ablate-postgres-") as name:
        folder, port, secret = Path(name), free_port(), secrets.token_hex(8)
        (folder / "secret").write_text(secret)
        as_user = _owned(folder)
        data = str(folder / "data")
        login = ["--username", _USER, "--pwfile", str(folder / "secret"), "--auth", "scram-sha-256"]
        initialise = [str(found[-1].with_name("initdb")), "-D", data, "--no-sync", *login]
        subprocess.run([*as_user, *initialise], check=True, stdout=subprocess.DEVNULL, cwd=folder)
        serve = [str(found[-1]), "-D", data, "-k", name, "-h", HOST, "-p", str(port), "-F"]
        with running([*as_user, *serve], "ready to accept connections", LC_ALL="C"):
            yield f"postgresql+psycopg2://{_USER}:{secret}@{HOST}:{port}/postgres"


def _owned(folder: Path) -> list[str]:
    """Makes ``folder`` that of the user who may run PostgreSQL; returns what commands are to begin with."""
    if os.geteuid() != 0:
        return []
    if shutil.which("runuser") is None or _USER not in (entry.pw_name for entry in pwd.getpwall()):
        pytest.skip(f"PostgreSQL refuses to run as root, and there is no user {_USER} to run it as")
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, _USER)
    return ["runuser", "-u", _USER, "--"]
