"""The project as it is shipped with a sweep: its files, without what git ignores, in one archive.

Which files those are Ray decides, whose rule it is: what ``.gitignore`` and ``.rayignore`` name stays here.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ablate.cluster.kind import ClusterError
from ablate.durable import in_words

_SECRET = (".env", ".env.*", "*.pem")
_MADE = (".git", ".venv", "venv", "__pycache__", "/runs", ".mypy_cache", ".ruff_cache", ".pytest_cache")
LEFT_OUT = (*_SECRET, *_MADE)
_SHOWN = 5  # folders, when there is too much
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same files make the same archive, which Ray then uploads only once


def files_of(project: Path) -> list[Path]:
    """The files that are shipped, relative to the project, in order."""
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    project, found = project.resolve(), list[Path]()

    def note(path: Path) -> None:
        if path.is_file():
            found.append(path.relative_to(project))

    excludes = [_get_excludes(project, list(LEFT_OUT))]
    _dir_travel(project, excludes, note, include_gitignore=True, logger=_Silent())
    return sorted(found)


def most_bytes() -> int:
    """What a job may bring, by Ray's own limit."""
    from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE

    return int(GCS_STORAGE_MAX_SIZE)


def check_size(project: Path, files: Iterable[Path], most: int) -> int:
    """Bytes that are shipped. Raises ClusterError, saying what is large, if they are not below ``most``."""
    sizes = Counter[str]()
    for file in files:
        sizes[_folder(file)] += (project / file).stat().st_size
    if (total := sizes.total()) < most:
        return total
    largest = ", ".join(f"{name} {in_words(size)}" for name, size in sizes.most_common(_SHOWN))
    raise ClusterError(
        f"{project}: {in_words(total)} would be shipped, and Ray takes less than {in_words(most)}. Largest: "
        f"{largest}. Name what the nodes do not need in .gitignore or .rayignore; data belong on the nodes "
        "or in a bucket"
    )


def pack(project: Path, files: Iterable[Path], archive: Path) -> None:
    """Write the files into a zip. Equal files give equal bytes, whenever and wherever."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for file in files:
            path = project / file
            entry = zipfile.ZipInfo(file.as_posix(), _LONG_AGO)
            entry.external_attr = (0o755 if path.stat().st_mode & 0o100 else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            zipped.writestr(entry, path.read_bytes())


def relative(file: Path, project: Path) -> Path:
    """Where ``file`` lies in the project. Raises ClusterError if it does not."""
    try:
        return file.resolve().relative_to(project.resolve())
    except ValueError:
        raise ClusterError(
            f"{file} lies outside of the project {project}, which is what is shipped; copy it there, or name "
            "another folder with --project"
        ) from None


def _folder(file: Path) -> str:
    """What a size is told of: the file itself at the top of the project, else its first two folders."""
    parents = file.parts[:-1][:2]
    return "/".join(parents) + "/" if parents else file.name


class _Silent:
    """Ray says at each folder which file it reads there."""

    def info(self, *_: object) -> None: ...

    def error(self, *_: object) -> None: ...
