"""The sign-flip test of paired differences, for one sample and for many at once.

Under the null that differences are symmetric about zero, every pattern of their signs is equally likely.
The p-value is the share of patterns whose mean is at least as far from zero as the one seen, so its level is
exact for any symmetric noise, normal or not. Under skew it is not exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ablate.statistics.multiplicity import reached

FloatArray = NDArray[np.float64]

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
    samples, n = differences.shape
    largest = np.abs(differences).max(axis=1, initial=0.0)
    d = differences / np.where(largest > 0, largest, 1.0)[:, np.newaxis]
    seen = np.abs(d.sum(axis=1)) - _TIE * np.abs(d).sum(axis=1)
    as_far = np.zeros(samples, dtype=np.int64)
    total = _total(n)
    left = np.arange(samples)
    for signs in _patterns(n):
        step = max(1, _BLOCK // len(signs))
        for start in range(0, len(left), step):
            part = left[start : start + step]
            sums = d[part] @ signs.T
            np.abs(sums, out=sums)
            as_far[part] += np.count_nonzero(sums >= seen[part, np.newaxis], axis=1)
        left = left[reached(as_far[left] / total, ceiling)]
    drawn = 0 if n <= ENUMERATED else 1  # the pattern observed is not among those drawn
    return np.asarray((as_far + drawn) / (total + drawn), dtype=np.float64)


def _total(n: int) -> int:
    return 2 ** (n - 1) if n <= ENUMERATED else SAMPLED


def _patterns(n: int) -> Iterator[FloatArray]:
    """Blocks [patterns, n] of signs: half of all patterns (the other half mirrors it), or random ones."""
    total = _total(n)
    step = max(1, min(4096, _BLOCK // n))
    rng = np.random.default_rng(0)
    for start in range(0, total, step):
        count = min(step, total - start)
        if n <= ENUMERATED:
            minus = (np.arange(start, start + count)[:, np.newaxis] >> np.arange(n)) & 1
        else:
            minus = rng.integers(0, 2, size=(count, n))
        yield 1.0 - 2.0 * minus


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
