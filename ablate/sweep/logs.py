"""Per-trial logs: what a shared process prints while it works on a trial goes to that trial's file.

The file descriptors themselves are pointed at the file, so prints, logging, warnings of C++ libraries and the
stack of a fatal error all arrive, and nothing is lost when the process is killed. Each rank of a gang has a
file of its own: appends from several machines to one file would overwrite each other on a shared file system.

    trials/<trial>/log.txt          rank 0
    trials/<trial>/log-rank-1.txt   rank 1
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_STREAMS = (1, 2)  # stdout, stderr


def log_file(folder: Path, rank: int) -> Path:
    return folder / ("log.txt" if rank == 0 else f"log-rank-{rank}.txt")


class TrialLog:
    """One process's log of one trial, open until closed; a trial that goes on adds to what is there."""

    def __init__(self, path: Path, title: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(self._file, f"--- {title}\n".encode())

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Everything that this process prints goes to the log."""
        before = [os.dup(stream) for stream in _STREAMS]
        _point([self._file] * len(_STREAMS))
        try:
            yield
        finally:
            _point(before)
            for descriptor in before:
                os.close(descriptor)

    def close(self) -> None:
        os.close(self._file)


def _point(targets: list[int]) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nothing to flush to is no reason to lose a trial
            stream.flush()
    for stream_number, target in zip(_STREAMS, targets, strict=True):
        os.dup2(target, stream_number)
