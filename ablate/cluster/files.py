"""What kind of cluster a file describes, by what the file itself says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ablate.cluster.kind import Cluster, ClusterError
from ablate.spec.errors import Mistake, Place, SpecError
from ablate.spec.yaml_file import Node, parse_yaml

_BETWEEN = re.compile(r"^---(?:[ \t].*)?$", re.MULTILINE)
_KINDS = (
    "a cluster's file is YAML with `provider` (Ray's launcher), YAML with `kind: RayJob` (Kubernetes), or a "
    ".sbatch (Slurm)"
)


def read_cluster(path: Path, sets: Sequence[str] = ()) -> Cluster:
    """The cluster that ``path`` describes, with ``--set`` values laid over it.

    Raises ClusterError for a file that describes none, or holds mistakes.
    """
    if path.suffix == ".sbatch":
        if not path.is_file():
            raise ClusterError(f"{path}: there is no such file")
        from ablate.cluster.slurm import SlurmCluster

        return SlurmCluster(path, sets)
    values = [document.value for document in read_documents(path)]
    mappings = [value for value in values if isinstance(value, dict)]
    if any(value["kind"].value == "RayJob" for value in mappings if "kind" in value):
        from ablate.cluster.kube import KubeCluster

        return KubeCluster(path, sets)
    if len(values) == 1 and "provider" in (mappings or [{}])[0]:
        from ablate.cluster.launcher import LauncherCluster

        return LauncherCluster(path, sets)
    raise ClusterError(f"{path}: {_what_else(mappings)}; {_KINDS}")


def default_runs(path: Path) -> str:
    """The folder of runs there. A job of Slurm's begins in the project, which is shared."""
    return "runs" if path.suffix == ".sbatch" else "~/ablate-runs"


def read_documents(path: Path) -> list[Node]:
    """The YAML documents of a file. Raises ClusterError with line and column for what is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ClusterError(f"{path}: not UTF-8 text: {error.reason}") from None
    except OSError as error:
        raise ClusterError(f"{path}: cannot be read: {error.strerror or error}") from None
    documents, mistakes = list[Node](), list[Mistake]()
    starts = [0, *(line.end() for line in _BETWEEN.finditer(text))]
    ends = [*(line.start() for line in _BETWEEN.finditer(text)), len(text)]
    for start, end in zip(starts, ends, strict=True):
        above = text.count("\n", 0, start)

        def place(line: int, column: int, above: int = above) -> Place:
            return Place(str(path), above + line + 1, column + 1)

        try:
            document, found = parse_yaml(text[start:end], place)
        except SpecError as error:
            raise ClusterError(str(error)) from None
        mistakes += found
        if document.value is not None:
            documents.append(document)
    if mistakes:
        raise ClusterError(str(SpecError(mistakes)))
    return documents


def _what_else(mappings: Sequence[dict[str, Node]]) -> str:
    """What a file is that is no cluster's."""
    kinds = [str(value["kind"].value) for value in mappings if "kind" in value]
    if kinds:
        return f"found kind: {', '.join(kinds)}"
    if not mappings:
        return "found no mapping of keys to values"
    return f"found the keys {', '.join(list(mappings[0])[:8])}"
