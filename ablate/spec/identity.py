"""Names for values: the hash of a trial, and of a run (a trial, made by some code on some data)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ablate.spec.base import Spec
from ablate.spec.plugins import plugins_in_use, source_files
from ablate.spec.trial import TrialSpec

# What a trial's numbers depend on. Editing a comment elsewhere does not make finished work stale.
_CODE_THAT_MATTERS = (
    "spec/streams.py",
    "spec/data.py",
    "spec/encoder.py",
    "spec/head.py",
    "spec/inner.py",
    "spec/loss.py",
    "spec/method.py",
    "spec/trial.py",
    "spec/views.py",
    "data",
    "model",
    "objective",
    "train",
    "measure",
    "trial",
)
# These only read what a trial left, or time it.
_BESIDE = tuple(f"trial/{name}.py" for name in ("artifacts", "encoder", "heaviest", "packing", "probe"))
_LIBRARIES = ("torch", "torchvision", "numpy", "scikit-learn", "ffcv", "numba")


def digest(value: Any) -> str:
    """16 hexadecimal digits of SHA-256 over canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def spec_hash(spec: Spec) -> str:
    """The identity of a spec: equal values, equal hash, whatever the order of keys in the file."""
    return digest(spec.as_dict())


def code_digest(spec: Spec | None = None) -> str:
    """Digest of the source files that a trial's numbers depend on.

    Those of the plugins that ``spec``, a trial or a sweep, names are among them.
    """
    return _code_digest(plugins_in_use(spec) if spec is not None else ())


@cache
def _code_digest(plugins: tuple[type[Spec], ...]) -> str:
    root = Path(__file__).parents[1]
    found = (f for name in _CODE_THAT_MATTERS for f in _sources(root / name))
    files = sorted(set(found) - {root / name for name in _BESIDE})
    content = [[str(f.relative_to(root)), f.read_text()] for f in files]
    for model in plugins:
        below = source_files(model)
        content += [[f"{model.__module__}:{model.__name__}", f.name, f.read_text()] for f in below]
    return digest(content)


def _sources(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.rglob("*.py"))


@cache
def library_versions() -> dict[str, str]:
    """Versions of the libraries that a trial's numbers depend on."""
    return {name: version(name) for name in _LIBRARIES}


def run_identity(
    spec: TrialSpec,
    *,
    arm: str,
    stage: str,
    lineage: Sequence[Mapping[str, Any]],
    data: str,
    device: str,
    workers: int,
    threads: int,
) -> dict[str, Any]:
    """What must be equal for two runs to give the same numbers; how fast they were is not one of these.

    ``lineage`` names the trials from whose weights it went on ({trial, spec_hash, epochs}, the oldest first),
    ``data`` is the dataset's digest, ``device`` "cpu" or the model of the GPU.
    """
    return {
        "spec": spec_hash(spec),
        "arm": arm,
        "stage": stage,
        "lineage": list(lineage),
        "data": data,
        "code": code_digest(spec),
        "libraries": library_versions(),
        "device": device,
        "workers": workers,
        "threads": threads,
    }
