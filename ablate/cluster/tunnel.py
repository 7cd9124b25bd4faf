"""The way to a head's loopback: a child process that forwards a port of this machine's loopback to it.

The child ends with this process, however this process ends: it is run by a shell that waits for the pipe from
here to be closed.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from ablate.cluster.kind import ClusterError

PATIENCE = 60.0  # seconds until the head must have answered
_LOOK = 0.1  # seconds between two tries
_GOODBYE = 5.0  # seconds that the child has to end
_SAID = 15  # last lines of what the child said, where it fails
# A forwarder and what it started share the shell's group, which `kill 0` ends.
_HELD = 'exec 3<&0; (cat <&3 >/dev/null; kill 0) & "$@" </dev/null 3<&-; status=$?; kill $!; exit $status'


@contextlib.contextmanager
def tunnel(command: Callable[[int], Sequence[str]], *, patience: float = PATIENCE) -> Iterator[str]:
    """Within it, the head's web server answers at the URL that this gives.

    ``command`` is told the port of this machine to forward. Raises ClusterError, with what the child said, if
    it ends or nothing answers.
    """
    port = _free_port()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            ["sh", "-c", _HELD, "sh", *command(port)],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait(child, port, said, patience)
            yield f"http://127.0.0.1:{port}"
        finally:
            _end(child)


def _wait(child: subprocess.Popen[bytes], port: int, said: IO[bytes], patience: float) -> None:
    deadline = time.monotonic() + patience
    while not _answers(port):
        if child.poll() is not None:
            raise ClusterError(
                f"cannot reach the head: it is not up, or SSH does not get there.\n{_last(said)}"
            )
        if time.monotonic() > deadline:
            raise ClusterError(
                f"the head does not answer on its loopback port 8265 within {patience:g} seconds: Ray's "
                f"dashboard does not run there, or SSH hangs.\n{_last(said)}"
            )
        time.sleep(_LOOK)


def _answers(port: int) -> bool:
    """Whether a web server is at the other end; what it says is not asked here."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/api/version")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _end(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    child.stdin.close()
    try:
        child.wait(_GOODBYE)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _last(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").splitlines()
    return "\n".join(line for line in lines[-_SAID:] if line.strip())
