"""A good sweep file, and ways to read variations of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.spec import SpecError, SweepSpec, load_sweep

GOOD = """\
name: good
question: Does the head matter?
base:
  data: {kind: scattered-digits}
  head: {kind: mlp, depth: 2}
  optim: {kind: sgd, lr: 1e-1, epochs: 8}
space:
  head.kind: {choice: [mlp, directclr]}
  head.depth: {int: [1, 3], when: {head.kind: mlp}}
  head.sparsity.penalty: {choice: [null, l1, l21], when: {head.kind: mlp}}
  head.sparsity.shrink: {float: [0.01, 10], log: true, when: {head.sparsity.penalty: [l1, l21]}}
  head.subvector: {int: [4, 64], when: {head.kind: directclr}}
  optim.lr: {float: [0.03, 1], log: true}
search:
  trials: 24
  scheduler: {kind: asha, rungs: [2, 4]}
confirm:
  references:
    plain: {head: {kind: mlp, depth: 2}}
"""


def write(folder: Path, text: str, name: str = "sweep.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def load(folder: Path, text: str = GOOD, *overrides: str) -> SweepSpec:
    return load_sweep(write(folder, text), overrides)


def mistakes(folder: Path, text: str = GOOD, *overrides: str) -> list[str]:
    """The messages of a file that is wrong, without its name: ``3:1: base: ...``."""
    path = write(folder, text)
    with pytest.raises(SpecError) as caught:
        load_sweep(path, overrides)
    return [str(m).removeprefix(f"{path}:") for m in caught.value.mistakes]
