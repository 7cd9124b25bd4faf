"""Files that are whole or absent, and still there after a power cut. A full disk is said beforehand."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

RESERVE = 2**20  # bytes left free for the sweep's ledger, which must be able to say what happened
FULL = (errno.ENOSPC, errno.EDQUOT)


def write_durably(path: Path, data: bytes | memoryview, *, reserve: int = RESERVE) -> None:
    """Write a file under another name, sync it and rename it; its name is durable after ``sync``.

    It is not begun unless ``reserve`` bytes will be left free.

    Raises OSError (ENOSPC), saying what is needed and what is free, if it does not fit on the disk.
    """
    check_free(path.parent, len(data) + reserve, path.name)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        if error.errno in FULL:  # a quota, or somebody else was quicker
            raise _full(path.parent, len(data), path.name) from error
        raise


def replace_file(path: Path, data: bytes) -> None:
    """Write a file all at once, in place of one that is there; not durable. Raises OSError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_free(folder: Path, needed: int, what: str) -> None:
    """Raise OSError (ENOSPC) unless ``needed`` bytes are free where ``folder`` lies."""
    if shutil.disk_usage(folder).free < needed:
        raise _full(folder, needed, what)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, with durable names."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def in_words(size: float) -> str:
    """A number of bytes as people say it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _full(folder: Path, needed: int, what: str) -> OSError:
    free = in_words(shutil.disk_usage(folder).free)
    return OSError(errno.ENOSPC, f"{what} needs {in_words(needed)} in {folder}, where {free} are free")
