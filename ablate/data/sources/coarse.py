"""Coarse labels: the classes of a source grouped, for training on groups and looking for classes.

Coarse-to-fine transfer is where representations before a projection head are said to keep more than those
after it (Xue et al., arXiv 2403.11391, on the 20 superclasses of CIFAR-100).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ablate.data.error import DataError
from ablate.data.sources.registry import LABEL, Names, Part, Source

COARSE, FINE = "coarse", "fine"


def group_classes(source: Source, groups: tuple[tuple[str, Names], ...]) -> Source:
    """``source`` with its label grouped into ``groups`` (name, classes): they become the label "coarse".

    The classes stay as a factor: "fine" if they were the only label, else by their own name. Raises DataError
    unless every class is in exactly one group.
    """
    old = source.label
    fine = FINE if old == LABEL else old
    classes = source.names[old]
    group_of = {c: k for k, (_, members) in enumerate(groups) for c in members}
    unknown = [c for c in group_of if c not in classes]
    missing = [c for c in classes if c not in group_of]
    if unknown or missing:
        faults = [
            f"{what}: {', '.join(found)}"
            for what, found in (("not classes", unknown), ("in no group", missing))
            if found
        ]
        raise DataError(
            f"data.coarse must name every class of the source once; {'; '.join(faults)}. "
            f"The classes are: {', '.join(classes)}."
        )
    if COARSE in source.names:
        raise DataError("data.coarse cannot group what is already grouped; leave it out.")
    lookup = np.array([group_of[c] for c in classes], dtype=np.int64)

    def grouped(part: Part) -> Part:
        labels = part.factors[old]
        others = {name: values for name, values in part.factors.items() if name != old}
        return replace(part, factors={COARSE: lookup[labels], fine: labels, **others})

    others = {name: names for name, names in source.names.items() if name != old}
    return replace(
        source,
        names={COARSE: tuple(name for name, _ in groups), fine: classes, **others},
        train=grouped(source.train),
        test=grouped(source.test),
        validation=None if source.validation is None else grouped(source.validation),
        label=COARSE,
    )
