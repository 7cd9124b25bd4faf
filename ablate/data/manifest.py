"""The list of a built data set's files, by which a copy of it is told from a damaged one.

``manifest.json`` lies beside the files and names each with its size and SHA-256. It is written with the data
set; for one that an earlier version built it is made when it is first wanted.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ablate.data.error import DataError
from ablate.durable import replace_file

MANIFEST = "manifest.json"
_FILE = re.compile(r"[a-z]+\.beton|meta\.json")  # a name that is a path, or hidden, is none of ours
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Piece:
    """A file: its size in bytes, and the SHA-256 of its content in hexadecimal digits."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """All files of the data set that ``digest`` names."""

    digest: str
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(piece.size for piece in self.pieces)

    def text(self) -> bytes:
        """As it is written."""
        tree = {"digest": self.digest, "files": [asdict(piece) for piece in self.pieces]}
        return (json.dumps(tree, indent=1) + "\n").encode()

    @classmethod
    def parse(cls, text: bytes, where: str) -> Manifest:
        """The manifest that ``text`` is. Raises DataError, naming ``where`` it was found, if it is none."""
        try:
            tree = json.loads(text)
            return cls(str(tree["digest"]), tuple(_piece(entry) for entry in tree["files"]))
        except (ValueError, LookupError, TypeError) as error:
            raise DataError(f"{where}: is no list of a data set's files ({error!r})") from error


def write_manifest(folder: Path, digest: str) -> None:
    """Leave the list of the files that are in ``folder`` there. Raises OSError."""
    replace_file(folder / MANIFEST, _made(folder, digest).text())


def manifest_of(folder: Path) -> Manifest:
    """That of the data set in ``folder``, whose name is its digest. Raises DataError if it cannot be had."""
    path = folder / MANIFEST
    try:
        if path.exists():
            return Manifest.parse(path.read_bytes(), str(path))
        manifest = _made(folder, folder.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error}).") from error
    with suppress(OSError):  # a cache that may only be read
        replace_file(path, manifest.text())
    return manifest


def _made(folder: Path, digest: str) -> Manifest:
    files = sorted(file for file in folder.iterdir() if _FILE.fullmatch(file.name))
    return Manifest(digest, tuple(_listed(file) for file in files))


def _listed(file: Path) -> Piece:
    with file.open("rb") as stream:
        return Piece(file.name, file.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest())


def _piece(entry: dict[str, Any]) -> Piece:
    piece = Piece(entry["name"], entry["size"], entry["sha256"])
    if not _FILE.fullmatch(piece.name):
        raise ValueError(f"{piece.name!r} is no file of a data set")
    if not isinstance(piece.size, int) or piece.size < 0 or not _SHA256.fullmatch(piece.sha256):
        raise ValueError(f"{piece.name} has no size, or no SHA-256")
    return piece
