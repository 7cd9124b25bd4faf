"""From a file of ``ablate theory`` to its answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ablate.spec.theory import TheorySpec
from ablate.theory import bilevel, directclr, margins, sparsehead, xue
from ablate.theory.claim import Claim

CHECKS: dict[str, Callable[[Any], list[Claim]]] = {
    "directclr-one-layer": directclr.one_layer,
    "directclr-two-layers": directclr.two_layers,
    "directclr-depth": directclr.depth,
    "xue-linear": xue.linear,
    "sparsehead": sparsehead.planted,
    "bilevel": bilevel.inner_problem,
    "margins": margins.factors,
}


@dataclass(frozen=True)
class Answer:
    """The claims of one file, and the wall time they took."""

    name: str
    question: str
    seconds: float
    claims: list[Claim]

    @property
    def holds(self) -> bool:
        return all(claim.holds for claim in self.claims)


def answer(spec: TheorySpec) -> Answer:
    """Compute every claim of ``spec``; the same file gives the same numbers.

    On one thread of the CPU: more would only slow down matrices as small as these.
    """
    started, threads = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        claims = CHECKS[spec.check.kind](spec.check)
    finally:
        torch.set_num_threads(threads)
    return Answer(spec.name, spec.question, time.perf_counter() - started, claims)
