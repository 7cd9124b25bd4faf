"""The content of source files as one digest, remembered by name, size and time so that it is read once."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

from ablate.data.error import DataError


def files_digest(root: Path, files: list[Path], cache: Path) -> str:
    """Digest of the names (relative to ``root``), sizes and bytes of ``files``.

    ``cache/fingerprints`` remembers it for the same files with the same sizes and modification times, as git
    does. Raises DataError for a file that cannot be read.
    """
    listing = [_stat(file) for file in files]
    memo = cache / "fingerprints" / _blake(json.dumps(listing).encode())
    if memo.is_file():
        return memo.read_text()
    contents = [[str(file.relative_to(root)), _content(file)] for file in files]
    digest = _blake(json.dumps(contents).encode())
    _write_atomically(memo, digest)
    return digest


def _stat(file: Path) -> list[str | int]:
    try:
        status = file.stat()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error}).") from error
    return [str(file.absolute()), status.st_size, status.st_mtime_ns, status.st_ino]


def _content(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "blake2b").hexdigest()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error}).") from error


def _blake(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
    os.replace(name, path)
