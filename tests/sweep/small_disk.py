"""A disk that can be full: a small tmpfs, which takes the right to mount one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


class Disk:
    """``folder`` lies on it; ``leave`` fills it up to so many free bytes (in whole pages)."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._filler = folder, folder / "filler"

    def leave(self, free: int) -> None:
        self._filler.unlink(missing_ok=True)
        keep = self.folder / "keep"
        keep.write_bytes(b"\0" * free)
        with self._filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"\0" * 2**14):
                pass
        keep.unlink()


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Disk]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
