"""What this machine remembers of clusters that were brought up from it, for later commands to find them: the
``--set`` values of `ablate cluster up`, by the cluster's file, until `ablate cluster down`.

It lies in ``$XDG_STATE_HOME/ablate/clusters``, by default ``~/.local/state/ablate/clusters``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from ablate.cluster.kind import ClusterError
from ablate.durable import replace_file


def beside(file: Path, suffix: str) -> Path:
    """Where something about the cluster of ``file`` is kept, if it is."""
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    folder = Path(home).expanduser() / "ablate" / "clusters"
    path = file.resolve()
    if path.parent == folder.resolve():  # what is kept of a file may itself be named
        return path.with_suffix(suffix)
    return folder / f"{path.stem}-{hashlib.sha256(bytes(path)).hexdigest()[:8]}{suffix}"


def keep(file: Path, suffix: str, text: str) -> Path:
    """Write what ``beside`` tells where; returns it."""
    path = beside(file, suffix)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, text.encode())
    return path


def remember(file: Path, sets: Sequence[str]) -> None:
    """Have ``recall`` know what the cluster of ``file`` is brought up with."""
    keep(file, ".json", json.dumps({"file": str(file.resolve()), "sets": list(sets)}))


def recall(file: Path) -> tuple[str, ...]:
    """The ``--set`` values that the cluster of ``file`` was last brought up with."""
    path = beside(file, ".json")
    try:
        return tuple(json.loads(path.read_text())["sets"])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ClusterError(f"{path}: cannot be read ({error}); delete it, and give --set again") from None


def forget(file: Path) -> None:
    for suffix in (".json", ".yaml"):
        beside(file, suffix).unlink(missing_ok=True)
