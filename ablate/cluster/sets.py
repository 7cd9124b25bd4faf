"""``--set KEY=VALUE`` laid over the plain values of a cluster's file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ablate.cluster.kind import ClusterError
from ablate.spec.explain import show
from ablate.spec.paths import Path


def put(values: dict[str, Any], text: str) -> Path:
    """Lay one ``--set`` over the values; returns its path. Keys may hold dots: those that are there win."""
    import yaml  # type: ignore[import-untyped]

    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ClusterError(f"--set {text}: expected key=value with a dotted key, such as max_workers=4")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ClusterError(f"--set {text}: not YAML: {' '.join(str(error).split())}") from None
    path: list[str | int] = []
    here: Any = values
    while parts:
        if isinstance(here, list):
            name: str | int = _index(parts, here, text)
            count = 1
        elif isinstance(here, dict):
            fits = [n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in here]
            count = fits[0] if fits else 1
            name = ".".join(parts[:count])
        else:
            raise ClusterError(
                f"--set {text}: {'.'.join(map(str, path))} is {show(here)}, which holds no keys"
            )
        path.append(name)
        parts = parts[count:]
        if not parts:
            here[name] = parsed
        elif isinstance(here, dict):
            here = here.setdefault(name, {})
        else:
            here = here[name]
    return tuple(path)


def _index(parts: Sequence[str], here: Sequence[Any], text: str) -> int:
    if not parts[0].isdecimal() or int(parts[0]) >= len(here):
        raise ClusterError(
            f"--set {text}: {parts[0]} is none of the {len(here)} entries of a list (0, 1, ...)"
        )
    return int(parts[0])
