"""The sign-flip test of paired differences, for one sample and for many at once.

Under the null that differences are symmetric about zero, every pattern of their signs is equally likely.
The p-value is the share of patterns whose mean is at least as far from zero as the one seen, so its level is
exact for any symmetric noise, normal or not. Under skew it is not exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ablate.statistics.multiplicity import reached

FloatArray = NDArray[np.float64]
CountArray = NDArray[np.int64]

ENUMERATED = 16  # differences up to which all sign patterns are tried
SAMPLED = 2**16  # random sign patterns above that
_TIE = 1e-12  # sums this close, relative to the sum of sizes, differ by rounding only
_BLOCK = 2**21  # sums held at a time, 16 MiB


def sign_flip_p(differences: Sequence[float] | FloatArray) -> float | None:
    """Two-sided p of the mean under random signs, in (0, 1]; None below two differences.

    Exact (all 2^n sign patterns) up to 16 differences; above, from 65,536 random patterns of a generator
    seeded with 0, the observed one counted among them (Phipson and Smyth 2010). `smallest_p` is its floor.
    Differences must be finite. All zero: 1.
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.size < 2:
        return None
    return float(sign_flip_rows(d[np.newaxis, :])[0])


def sign_flip_rows(differences: FloatArray, ceiling: float = 1.0) -> FloatArray:
    """`sign_flip_p` of every row of ``differences`` [samples, n], n >= 2; memory is bounded.

    A row whose p is sure to exceed ``ceiling`` is left early, with a smaller number that exceeds it too. With
    Holm at a level of ``ceiling`` or less this changes no decision, on that row or any other.
    """
    n = differences.shape[1]
    largest = np.abs(differences).max(axis=1, initial=0.0)
    d = differences / np.where(largest > 0, largest, 1.0)[:, np.newaxis]
    seen = np.abs(d.sum(axis=1)) - _TIE * np.abs(d).sum(axis=1)
    if n > ENUMERATED:
        return np.asarray((_sampled(d, seen, ceiling) + 1) / (SAMPLED + 1), dtype=np.float64)
    step = _BLOCK >> n // 2 + 1
    found = [_enumerated(d[i : i + step], seen[i : i + step]) for i in range(0, max(1, len(d)), step)]
    share = np.concatenate(found) / 2 ** (n - 1)
    return np.asarray(np.minimum(share, 1.0), dtype=np.float64)


def _enumerated(d: FloatArray, seen: FloatArray) -> CountArray:
    """How many patterns of each row of ``d`` reach ``seen``, among the half of them whose last sign is plus.

    (The other half mirrors it.) Every sum is one of the first columns plus one of the last ones; with the
    latter sorted, sums are counted without forming them. Where ``seen`` is not positive some count twice.
    """
    n = d.shape[1]
    first = d[:, : n // 2] @ _signs(n // 2, 2 ** (n // 2))
    last = np.sort(d[:, n // 2 :] @ _signs(n - n // 2, 2 ** (n - n // 2 - 1)), axis=1)
    found = np.empty(len(d), dtype=np.int64)
    for i, (a, b, reach) in enumerate(zip(first, last, seen, strict=True)):
        not_above = np.searchsorted(b, reach - a, side="left").sum()
        below = np.searchsorted(b, -reach - a, side="right").sum()
        found[i] = a.size * b.size - not_above + below
    return found


def _signs(n: int, patterns: int) -> FloatArray:
    """The first ``patterns`` of all 2^n, [n, patterns]; in the first half of them the last sign is plus."""
    return np.asarray(1.0 - 2.0 * ((np.arange(patterns) >> np.arange(n)[:, np.newaxis]) & 1))


def _sampled(d: FloatArray, seen: FloatArray, ceiling: float) -> CountArray:
    """How many random patterns of each row of ``d`` reach ``seen``; fewer where p exceeds ``ceiling``."""
    found = np.zeros(len(d), dtype=np.int64)
    left = np.arange(len(d))
    rng = np.random.default_rng(0)
    patterns = max(1, min(4096, _BLOCK // d.shape[1]))
    for start in range(0, SAMPLED, patterns):
        size = (min(patterns, SAMPLED - start), d.shape[1])
        signs = (1.0 - 2.0 * rng.integers(0, 2, size)).T
        step = _BLOCK // patterns
        for i in range(0, len(left), step):
            part = left[i : i + step]
            sums = d[part] @ signs
            np.abs(sums, out=sums)
            found[part] += np.count_nonzero(sums >= seen[part, np.newaxis], axis=1)
        left = left[reached(found[left] / SAMPLED, ceiling)]
    return found


def smallest_p(n: int) -> float:
    """The smallest p that ``n`` differences can give: 2^(1-n), sampled (above 16) 1/65,537; below two, 1."""
    if n < 2:
        return 1.0
    return 2.0 ** (1 - n) if n <= ENUMERATED else 1 / (SAMPLED + 1)


def seeds_needed(alpha: float, family: int) -> int:
    """The fewest differences at which one of ``family`` comparisons can be significant after Holm.

    ValueError where none can: ``alpha`` / ``family`` below 1/65,537, or not a level and a count.
    """
    if not 0 < alpha < 1 or family < 1:
        raise ValueError(f"need 0 < alpha < 1 and at least one comparison, not alpha {alpha} and {family}")
    for n in range(2, ENUMERATED + 2):
        if reached(smallest_p(n) * family, alpha):
            return n
    raise ValueError(f"no number of seeds can conclude: alpha {alpha} over {family} comparisons is too small")
