"""A distribution as pip would leave it on a path: modules, and metadata with entry points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

Groups = Mapping[str, Mapping[str, str]]  # group -> kind -> module:class


def install(folder: Path, name: str, groups: Groups, files: Mapping[str, str]) -> Path:
    """Write ``files`` (path below ``folder`` -> text) and the metadata of ``name`` beside them."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    sections = [
        "\n".join([f"[{group}]", *(f"{kind} = {value}" for kind, value in points.items())])
        for group, points in groups.items()
    ]
    (info / "entry_points.txt").write_text("\n\n".join(sections) + "\n")
    return folder
