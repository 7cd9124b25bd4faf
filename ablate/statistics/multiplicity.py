"""Corrections for the number of comparisons.

Holm's is for declared comparisons, Benjamini and Hochberg's for exploration.

Holm (1979) bounds the probability of any false rejection in the family, whatever the dependence between the
comparisons (here they share a baseline and seeds). Benjamini and Hochberg (1995) bound the expected share of
false ones among the rejections, which suits a search for candidates and not a claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_SLACK = 1e-9  # a p that equals alpha but for rounding has reached it


@overload
def reached(p: float, alpha: float) -> bool: ...
@overload
def reached(p: FloatArray, alpha: float) -> NDArray[np.bool_]: ...
def reached(p: float | FloatArray, alpha: float) -> bool | NDArray[np.bool_]:
    """Whether ``p`` is at most ``alpha``, rounding aside: the one comparison behind every verdict."""
    if isinstance(p, np.ndarray):
        return np.asarray(p <= alpha * (1 + _SLACK), dtype=np.bool_)
    return bool(p <= alpha * (1 + _SLACK))


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """Holm's adjusted p-values in the order given, each in (0, 1]; empty for none.

    A comparison is rejected at family-wise level alpha where its adjusted p is at most alpha. The numbers
    are those of statsmodels, whose function runs the garbage collector at every call.
    """
    return tuple(float(x) for x in holm_rows(np.asarray([p], dtype=np.float64))[0])


def holm_rows(p: FloatArray) -> FloatArray:
    """`holm` of every row of ``p`` [samples, comparisons] at once."""
    order = np.argsort(p, axis=1, kind="stable")
    weighted = np.take_along_axis(p, order, axis=1) * np.arange(p.shape[1], 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(weighted, axis=1), 1.0)
    found = np.empty_like(adjusted)
    np.put_along_axis(found, order, adjusted, axis=1)
    return found


def benjamini_hochberg(p: Sequence[float]) -> tuple[float, ...]:
    """Benjamini and Hochberg's adjusted p-values in the order given; empty for none.

    The false discovery rate is bounded for independent or positively dependent comparisons.
    """
    if not len(p):
        return ()
    from scipy import stats

    return tuple(float(x) for x in stats.false_discovery_control(np.asarray(p, dtype=np.float64)))
