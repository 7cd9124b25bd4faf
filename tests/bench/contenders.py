"""Contenders for the tests: they must be importable by name in another process."""

import os
from pathlib import Path


def fixed(folder: Path, *, seconds: float) -> dict[str, float]:
    assert not list(folder.iterdir())
    (folder / "left behind").touch()
    return {"seconds": seconds, "pid": float(os.getpid())}


def growing(_folder: Path, *, log: Path) -> dict[str, float]:
    """1 s the first time, 2 the second, ..."""
    with log.open("a") as file:
        file.write("growing\n")
    return {"seconds": float(len(log.read_text().splitlines()))}


def noted(_folder: Path, *, name: str, log: Path) -> dict[str, float]:
    with log.open("a") as file:
        file.write(f"{name}\n")
    return {"seconds": 1.0}


def broken(_folder: Path) -> dict[str, float]:
    raise OSError("no space left")
