"""Sizes of a difference that do not depend on how many units there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def cohen_dz(differences: Sequence[float] | FloatArray) -> float | None:
    """Mean of the paired differences over their standard deviation; None without spread or below two.

    It is relative to the noise of the differences, not of the scores: pairing makes it larger.
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.size < 2 or np.ptp(d) == 0:
        return None
    deviation = float(d.std(ddof=1))
    return float(d.mean()) / deviation if deviation > 0 else None


def probability_better(differences: Sequence[float] | FloatArray) -> float | None:
    """Share of the units in which the arm beats the other, ties half, in [0, 1]; None for no units.

    An estimate of P(A > B) for one fresh unit (Bouthillier et al. 2021 take .75 as worth having).
    """
    d = np.asarray(differences, dtype=np.float64)
    if not d.size:
        return None
    return float(np.mean(d > 0) + np.mean(d == 0) / 2)


def probability_better_unpaired(a: Sequence[float] | FloatArray, b: Sequence[float] | FloatArray) -> float:
    """P(A > B) over all pairs of a score of ``a`` and one of ``b``, ties half, in [0, 1].

    It is the Mann-Whitney U over the number of pairs. Neither may be empty (ValueError).
    """
    first, second = np.asarray(a, dtype=np.float64), np.sort(np.asarray(b, dtype=np.float64))
    if not first.size or not second.size:
        raise ValueError("P(A > B) needs at least one score of each")
    below = np.searchsorted(second, first, side="left")
    not_above = np.searchsorted(second, first, side="right")
    return float(np.mean((below + not_above) / (2 * second.size)))
