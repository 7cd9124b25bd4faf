"""Per-example results of confirmation trials: which test images each one got right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ablate.report.arrays import FloatArray, read_arrays

Pairs = Sequence[tuple[str, str]]


class Correctness:
    """What is stored in ``trials/<trial>/correct.npz`` of a sweep's folder, each file read once.

    ``metric`` is that of the test set whose examples are asked for, such as ``probe.h.test``.
    """

    def __init__(self, folder: Path, metric: str) -> None:
        self._folder, self._name = folder, metric.removesuffix(".test")
        self._known: dict[str, FloatArray | None] = {}
        self._stored = metric.endswith(".test")

    def differences(self, units: Sequence[Pairs]) -> FloatArray | None:
        """[units, images], -1 to 1: of each unit the mean over its pairs of trials of the correctness of the
        first minus that of the second.

        None if there are no units, if any trial has none stored, or if their numbers of images differ.
        """
        rows: list[FloatArray] = []
        for pairs in units:
            cells = [self._difference(*pair) for pair in pairs]
            known = [each for each in cells if each is not None]
            if not known or len(known) < len(cells) or len({each.shape for each in known}) > 1:
                return None
            rows.append(np.mean(known, axis=0))
        return np.stack(rows) if rows and len({row.shape for row in rows}) == 1 else None

    def _difference(self, first: str, second: str) -> FloatArray | None:
        a, b = self._of(first), self._of(second)
        return None if a is None or b is None or a.shape != b.shape else a - b

    def _of(self, trial: str) -> FloatArray | None:
        if self._stored and trial not in self._known:
            self._known[trial] = read_arrays(self._folder / "trials" / trial / "correct.npz").get(self._name)
        return self._known.get(trial)
