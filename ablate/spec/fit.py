"""Whether the parts of a trial fit each other: what no part can know alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ablate.spec.method import MoCoV2
from ablate.spec.parts import (
    HEADS_WITHOUT_WEIGHTS,
    LOSSES_OF_METHOD,
    METHODS_OF_INNER,
    SOURCES_WITH_ALTERNATES,
)

if TYPE_CHECKING:
    from ablate.spec.trial import TrialSpec

Misfit = tuple[str, str]  # a dotted key, and what is wrong with it


def misfits(trial: TrialSpec) -> Iterator[Misfit]:
    """Every pair of parts that do not go together."""
    yield from _method(trial)
    yield from _head(trial)
    yield from _inner(trial)
    yield from _compute(trial)
    yield from _diagnoses(trial)
    if trial.views.drop and trial.data.kind not in SOURCES_WITH_ALTERNATES:
        yield (
            "views.drop",
            f"{trial.data.kind} has no alternate picture to show (sources that have: "
            f"{', '.join(SOURCES_WITH_ALTERNATES)}); set it to 0",
        )


def _method(trial: TrialSpec) -> Iterator[Misfit]:
    method, batch = trial.method, trial.optim.batch
    allowed = LOSSES_OF_METHOD[method.kind]
    if trial.loss.kind not in allowed:
        yield (
            "loss.kind",
            f"{trial.loss.kind} does not fit method {method.kind} (allowed: {', '.join(allowed)})",
        )
    if isinstance(method, MoCoV2) and method.queue % batch:
        yield "method.queue", f"{method.queue} must be a multiple of optim.batch ({batch})"


def _head(trial: TrialSpec) -> Iterator[Misfit]:
    if trial.head.kind == "random-subvector" and trial.method.kind == "moco-v2":
        yield "head.kind", "random-subvector: the queue of moco-v2 would hold keys of other subvectors"
    for key in ("subvector", "rank"):
        if (found := getattr(trial.head, key, 0)) > trial.width:
            yield f"head.{key}", f"{found} exceeds the encoder's width ({trial.width})"


def _inner(trial: TrialSpec) -> Iterator[Misfit]:
    if trial.inner is None:
        return
    if trial.method.kind not in METHODS_OF_INNER:
        yield (
            "inner",
            f"needs one loss that encoder and head share, which {trial.method.kind} has not (methods that "
            f"have: {', '.join(METHODS_OF_INNER)})",
        )
    if trial.head.kind in HEADS_WITHOUT_WEIGHTS:
        yield "inner", f"head {trial.head.kind} has no weights to update"
    sparsity = getattr(trial.head, "sparsity", None)
    if not trial.inner.steps and sparsity:
        yield "head.sparsity", "does nothing to a head without steps (inner.steps is 0)"
    if trial.inner.start != "warm" and sparsity and sparsity.shrink is not None:
        yield (
            "head.sparsity.shrink",
            f"is over the whole run, which no head sees that is drawn anew each {trial.inner.start} "
            "(inner.start); use weight",
        )


def _compute(trial: TrialSpec) -> Iterator[Misfit]:
    compute, batch = trial.compute, trial.optim.batch
    if compute.microbatch is not None and batch % compute.microbatch:
        yield "compute.microbatch", f"{compute.microbatch} must divide optim.batch ({batch})"
    if compute.microbatch is not None and trial.inner:
        yield (
            "compute.microbatch",
            "does not go with inner, whose outer step needs the graph of h of the whole batch; leave it out",
        )
    if compute.compile and trial.inner:
        yield "compute.compile", "does not reach the head's own steps (inner); leave it out"
    if compute.compile and compute.checkpoint_activations:
        yield (
            "compute.compile",
            "decides for itself what to compute again; leave out compute.checkpoint_activations",
        )
    if compute.checkpoint_activations and trial.encoder.kind == "pixels":
        yield "compute.checkpoint_activations", "pixels has no activations; leave it out"


def _diagnoses(trial: TrialSpec) -> Iterator[Misfit]:
    asked, loss, method = trial.measure.diagnose, trial.loss.kind, trial.method.kind
    for name in ("margins", "generalisation"):
        if name in asked and loss != "info-nce":
            yield "measure.diagnose", f"{name} is of loss info-nce, not of {loss}; leave it out"
    if "subset" in asked and loss in ("alignment", "cross-entropy"):
        yield "measure.diagnose", f"subset needs a loss of two views' z, which {loss} is not; leave it out"
    if "inner" in asked and method not in METHODS_OF_INNER:
        yield (
            "measure.diagnose",
            f"inner needs one loss that encoder and head share, which {method} has not (methods that have: "
            f"{', '.join(METHODS_OF_INNER)}); leave it out",
        )
