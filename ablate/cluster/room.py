"""Whether a trial can ever have a place on a cluster, by what its nodes have. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ablate.spec.sweep import Resources


@dataclass(frozen=True)
class Offer:
    """Up to ``count`` nodes that have ``resources`` each, in Ray's names. What is not named there they have
    none of, unless not ``all_named``: then that is not known."""

    name: str
    count: int
    resources: Mapping[str, float]
    all_named: bool = True


def too_large(wanted: Resources, offers: Sequence[Offer], *, most: int | None = None) -> str | None:
    """Why no trial of these resources can ever run on nodes of these kinds, at most ``most`` together; None
    if one can, or if it cannot be told.

    A worker never spans nodes.
    """
    gpus = 1.0 if wanted.gpus == "auto" else wanted.gpus  # measured on a whole one
    enough = wanted.workers  # nodes of a kind: one that fits has a place for one at least
    fitting = [_places(o, wanted.cpus, gpus) for o in offers for _ in range(min(o.count, enough))]
    room = sum(sorted(fitting, reverse=True)[:most])
    if room >= wanted.workers:
        return None
    has = "; ".join(f"{o.name}: {o.count} x {_in_words(o.resources)}" for o in offers if o.count)
    limited = most is not None and most < sum(o.count for o in offers)
    limit = f", at most {most} of them together" if limited else ""
    return (
        f"a trial needs {wanted.workers} worker(s) of {wanted.cpus} CPU(s) and {gpus:g} GPU(s) each, but "
        f"there is room for {room:g} ({has or 'no nodes'}{limit}); lower resources.workers, resources.cpus "
        "or resources.gpus, or take larger nodes"
    )


def _places(offer: Offer, cpus: int, gpus: float) -> float:
    """Workers that fit on one node, infinite if that is not known."""
    fits = float("inf")
    for name, share in (("CPU", cpus), ("GPU", gpus)):
        if share and (name in offer.resources or offer.all_named):
            fits = min(fits, (offer.resources.get(name, 0) + 1e-9) // share)
    return fits


def _in_words(node: Mapping[str, float]) -> str:
    return f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs"
