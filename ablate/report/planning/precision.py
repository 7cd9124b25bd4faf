"""How precisely n units tell a difference, in closed form: for advice, where simulating would be slow.

The mean of n differences has the variance sd^2 / n between units, and, where test images are a sample too,
(taste + residual / n) / images: see ``statistics.power.image_variances``. Tests are t tests at one look.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablate.statistics.intervals import satterthwaite
from ablate.statistics.power import image_variances

MOST = 1000  # units up to which a sufficient number is looked for
_QUANTILES = 400  # of the estimated variance between units


@dataclass(frozen=True)
class Precision:
    """Of differences with standard deviation ``sd`` between units, on ``images`` test images (0: the only
    ones that matter)."""

    sd: float
    taste: float = 0.0
    residual: float = 0.0
    images: int = 0

    @classmethod
    def of(cls, sd: float, cells: NDArray[np.float64] | None) -> Precision:
        """``cells`` [units, images] are a pilot's differences of correctness; None: of these images only."""
        if cells is None:
            return cls(sd)
        return cls(sd, *image_variances(cells), cells.shape[1])

    def by_image(self, n: int) -> float:
        """Variance of the mean that the images add, as the test over units and images estimates it."""
        return (self.taste + self.residual / n) / self.images if self.images else 0.0

    def freedom(self, n: int) -> float:
        """Degrees of freedom of that test."""
        if not self.images:
            return n - 1.0
        by_unit, by_image = np.float64(self.sd**2 / n), np.float64(self.by_image(n))
        return float(satterthwaite(by_unit, by_image, n, self.images))

    def power(self, n: int, effect: float, level: float) -> float:
        """Of the two-sided t test at ``level``, in the right direction; ``effect`` above 0, n at least 2."""
        from scipy import stats

        freedom, error = self.freedom(n), math.sqrt(self.sd**2 / n + self.by_image(n))
        return float(stats.nct.sf(stats.t.isf(level / 2, freedom), freedom, effect / error))

    def detectable(self, n: int, level: float, target: float) -> float:
        """The effect that ``power`` finds with probability ``target``."""
        error = math.sqrt(self.sd**2 / n + self.by_image(n))
        return _smallest(lambda effect: self.power(n, effect, level), error, target)

    def margin(self, n: int, level: float, target: float) -> float:
        """The smallest margin within which arms that are equal are shown to be, with probability ``target``,
        by two one-sided tests at ``level`` each; n at least 2."""
        from scipy import stats

        shares = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
        seen = self.sd**2 / n * stats.chi2.ppf(shares, n - 1) / (n - 1) + self.by_image(n)
        taken = stats.t.isf(level, self.freedom(n)) * np.sqrt(seen)
        taste = self.taste / self.images if self.images else 0.0
        spread = math.sqrt(self.sd**2 / n + taste)

        def chance(margin: float) -> float:
            room = np.maximum(margin - taken, 0.0) / spread
            return float(np.mean(2 * stats.norm.cdf(room) - 1))

        return _smallest(chance, spread, target)

    def units_to_find(self, effect: float, level: float, target: float) -> int | None:
        """The fewest units with that power; None if up to ``MOST`` do not have it."""
        return next((n for n in range(2, MOST + 1) if self.power(n, effect, level) >= target), None)

    def units_to_equate(self, margin: float, level: float, target: float) -> int | None:
        """The fewest units that show equal arms to be equivalent within ``margin``; None as above."""
        if self.margin(MOST, level, target) > margin:
            return None
        low, high = 1, MOST
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.margin(middle, level, target) <= margin else (middle, high)
        return high


def _smallest(chance: Callable[[float], float], high: float, target: float) -> float:
    """Where the growing ``chance`` reaches ``target``, to a thousandth; ``high`` is a first guess above 0."""
    low = 0.0
    while chance(high) < target:
        low, high = high, 2 * high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if chance(middle) < target else (low, middle)
    return high
