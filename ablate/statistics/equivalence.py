"""Equivalence: a difference known to be smaller than a stated margin, by two one-sided tests.

(Schuirmann 1987.) That a difference is not established does not make two arms equivalent; a small
p here does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ablate.statistics.intervals import crossed_moments, t_tail

FloatArray = NDArray[np.float64]
_NO_SPREAD = 1e-9  # a spread this small, relative to the differences or the margin, is rounding


def tost_p(differences: Sequence[float] | FloatArray, margin: float) -> float | None:
    """p of |true mean| >= ``margin``: the larger of two one-sided paired t tests; None below two differences.

    ``margin`` is in the units of the differences. In (0, 1]. Without spread there is no t: then 2^-n, the
    one-sided sign test's p of n differences that all lie inside the margin, or 1 if they do not.
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.size < 2:
        return None
    return float(tost_rows(d[np.newaxis, :], margin)[0])


def tost_rows(differences: FloatArray, margin: float) -> FloatArray:
    """`tost_p` of every row of ``differences`` [samples, n], n >= 2."""
    n = differences.shape[1]
    mean, deviation = differences.mean(axis=1), differences.std(axis=1, ddof=1)
    size = np.maximum(np.abs(differences).max(axis=1), abs(margin))
    flat = deviation <= _NO_SPREAD * size
    return _larger_p(mean, np.where(flat, 0.0, deviation**2 / n), n - 1.0, margin, n)


def crossed_tost_p(cells: FloatArray, margin: float) -> float | None:
    """`tost_p` of the mean of ``cells`` [units, images], both of them samples; None below 2 x 2."""
    found = crossed_moments(cells)
    if found is None:
        return None
    mean, variance, freedom = found
    return float(_larger_p(np.array([mean]), np.array([variance]), freedom, margin, len(cells))[0])


def crossed_tost_rows(
    mean: FloatArray, variance: FloatArray, freedom: FloatArray, margin: float, units: int
) -> FloatArray:
    """`crossed_tost_p` from `crossed_moments` [samples] of many samples of ``units`` units each."""
    return _larger_p(mean, variance, freedom, margin, units)


def _larger_p(
    mean: FloatArray, variance: FloatArray, freedom: float | FloatArray, margin: float, units: int
) -> FloatArray:
    """The one-sided p of the nearer bound, which is the larger of the two."""
    flat = variance == 0
    inside = margin - np.abs(mean)
    p = t_tail(inside / np.sqrt(np.where(flat, 1.0, variance)), freedom)
    return np.where(flat, np.where(inside > 0, math.ldexp(1.0, -min(units, 1000)), 1.0), p)
