"""What a planned comparison can find: the procedure of looks and verdicts, simulated.

Each repetition is a whole confirm stage: paired normal differences for a family of comparisons, tested at
each look as `settled` does; the stage ends at the first look at which every comparison is settled, or at
the last one, and the verdict is the one that `judge` gives there at that look's alpha. The decisions are
those functions' own, for thousands of repetitions at once.

The power is that of the first comparison. The others are by default truly equal (``others="null"``), which is
the hard case: Holm then gives no help, and the stage rarely ends early. ``others="effect"`` gives all the
same effect. Comparisons are drawn independently; sharing a baseline correlates them, which the levels of
Holm do not mind.

With ``cells``, a pilot's differences of correctness, test images are simulated as a sample as well: each
repetition draws what its images favour (the pilot's variance between images, less its residual), and the
last word needs the test over units and images too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ablate.statistics.equivalence import crossed_tost_rows, tost_rows
from ablate.statistics.intervals import satterthwaite, t_tail
from ablate.statistics.multiplicity import holm_rows, reached
from ablate.statistics.sign_flip import sign_flip_rows, smallest_p

FloatArray = NDArray[np.float64]
CodeArray = NDArray[np.int8]
Others = Literal["null", "effect"]

WORSE, INCONCLUSIVE, BETTER, EQUIVALENT = -1, 0, 1, 2  # codes of verdicts in arrays
_PRECISION = 1.01  # of a minimum detectable effect, as a ratio
_ROUGH = 8  # how many times fewer repetitions make the first guess at it
_FAR = 1000.0  # noise levels beyond which an effect counts as out of reach


@dataclass(frozen=True)
class Power:
    """``power``: share of repetitions in which the first comparison gets the right word.

    That is better for a positive effect, worse for a negative one; for a zero effect it is the share of
    either, an error. ``error`` is the simulation's standard error of it, ``mean_seeds`` the units used on
    average, ``equivalent`` the share of repetitions called equivalent.
    """

    power: float
    mean_seeds: float
    error: float
    equivalent: float


@dataclass(frozen=True, eq=False)
class Study:
    """A planned confirm stage, with its noise drawn once so that effects are compared on the same noise.

    ``sd``: standard deviation of the differences between units; ``looks``: numbers of units, strictly
    increasing; ``alphas``: one a look; ``family``: number of comparisons. ``cells`` [units, images] as in
    `Comparison`. ValueError where these do not make a study.
    """

    sd: float
    looks: tuple[int, ...]
    alphas: tuple[float, ...]
    family: int
    margin: float | None = None
    cells: FloatArray | None = None
    repetitions: int = 4000
    seed: int = 0
    others: Others = "null"

    def __post_init__(self) -> None:
        if not self.looks or len(self.looks) != len(self.alphas):
            raise ValueError(f"{len(self.looks)} looks and {len(self.alphas)} alphas")
        if self.looks[0] < 2 or list(self.looks) != sorted(set(self.looks)):
            raise ValueError(f"looks must be strictly increasing from 2 or more, not {list(self.looks)}")
        if self.family < 1 or self.repetitions < 1 or not 0 <= self.sd < math.inf:
            raise ValueError("a study needs a comparison, a repetition and a finite standard deviation")
        if self.cells is not None and min(self.cells.shape) < 2:
            raise ValueError("cells of a pilot need at least two units and two images")

    @property
    def can_conclude(self) -> bool:
        """Whether any data at all could make one comparison better or worse at some look."""
        return any(
            reached(smallest_p(n) * self.family, alpha)
            for n, alpha in zip(self.looks, self.alphas, strict=True)
        )

    @property
    def scale(self) -> float:
        """Standard deviation of one difference, of units and of what the test images favour."""
        by_image = 0.0 if self.cells is None else sum(image_variances(self.cells)) / self.cells.shape[1]
        return math.sqrt(self.sd**2 + by_image)

    @cached_property
    def noise(self) -> FloatArray:
        """Differences of equal arms, [repetitions, comparisons, units]."""
        rng = np.random.default_rng((self.seed, 0))
        noise = self.sd * rng.standard_normal((self.repetitions, self.family, self.looks[-1]))
        if self.cells is not None:
            taste, _ = image_variances(self.cells)
            shift = math.sqrt(taste / self.cells.shape[1])
            noise += shift * rng.standard_normal((self.repetitions, self.family, 1))
        return noise

    @cached_property
    def _null(self) -> list[Evidence]:
        """The other comparisons at each look; they do not depend on the effect if they have none."""
        looks = zip(self.looks, self.alphas, strict=True)
        return [evidence(self.noise[:, 1:, :n], self.margin, alpha) for n, alpha in looks]

    def run(self, effect: float) -> tuple[CodeArray, NDArray[np.int64]]:
        """The first comparison's verdict and the units used, of each repetition, at a true ``effect``."""
        words = np.zeros(self.repetitions, dtype=np.int8)
        units = np.zeros(self.repetitions, dtype=np.int64)
        going = np.ones(self.repetitions, dtype=np.bool_)
        for k, (n, alpha) in enumerate(zip(self.looks, self.alphas, strict=True)):
            now = self._at(k, effect)
            all_settled = (now.words(alpha) != INCONCLUSIVE).all(axis=1)
            ends = going if n == self.looks[-1] else going & all_settled
            words[ends] = self._last(now, k).words(alpha)[ends, 0]
            units[ends] = n
            going = going & ~ends
        return words, units

    def _last(self, now: Evidence, look: int) -> Evidence:
        """What the verdict rests on if ``look`` is the last: with ``cells`` the test images as well."""
        if self.cells is None:
            return now
        taste, residual = image_variances(self.cells)
        images = self.cells.shape[1]
        rng = np.random.default_rng((self.seed, 1, look))
        spread = rng.chisquare(images - 1, size=now.mean.shape) / (images - 1)
        return now.with_images((taste + residual / now.units) * spread / images, images)

    def _at(self, look: int, effect: float) -> Evidence:
        n, alpha = self.looks[look], self.alphas[look]
        if self.others == "effect":
            return evidence(self.noise[:, :, :n] + effect, self.margin, alpha)
        first = evidence(self.noise[:, :1, :n] + effect, self.margin, alpha)
        return first if self.family == 1 else first.beside(self._null[look])

    def power(self, effect: float) -> Power:
        words, units = self.run(effect)
        right = np.isin(words, (BETTER, WORSE)) if effect == 0 else words == (BETTER if effect > 0 else WORSE)
        share = float(right.mean())
        return Power(
            power=share,
            mean_seeds=float(units.mean()),
            error=math.sqrt(share * (1 - share) / self.repetitions),
            equivalent=float((words == EQUIVALENT).mean()),
        )


@dataclass(frozen=True, eq=False)
class Evidence:
    """Many families' means, variances of the mean and p-values, each [samples, comparisons]."""

    units: int
    margin: float | None
    mean: FloatArray
    variance: FloatArray
    p: FloatArray
    p_equivalent: FloatArray | None

    def words(self, alpha: float) -> CodeArray:
        """The verdict of each comparison as a code, with `judge`'s precedence."""
        sign = np.where(self.mean > 0, BETTER, WORSE)
        found = np.where(reached(holm_rows(self.p), alpha), sign, INCONCLUSIVE)
        if self.p_equivalent is not None:
            found = np.where(reached(holm_rows(self.p_equivalent), alpha), EQUIVALENT, found)
        return np.asarray(found, dtype=np.int8)

    def beside(self, other: Evidence) -> Evidence:
        """Both as one family, this one's comparisons first."""
        equivalent = None
        if self.p_equivalent is not None and other.p_equivalent is not None:
            equivalent = np.hstack([self.p_equivalent, other.p_equivalent])
        return Evidence(
            units=self.units,
            margin=self.margin,
            mean=np.hstack([self.mean, other.mean]),
            variance=np.hstack([self.variance, other.variance]),
            p=np.hstack([self.p, other.p]),
            p_equivalent=equivalent,
        )

    def with_images(self, by_image: FloatArray, images: int) -> Evidence:
        """The same where the test images are a sample too, whose mean has the variance ``by_image``."""
        variance = self.variance + by_image
        freedom = np.asarray(satterthwaite(self.variance, by_image, self.units, images))
        none = variance == 0
        t = np.abs(self.mean) / np.sqrt(np.where(none, 1.0, variance))
        p = np.where(none, self.p, np.minimum(1.0, 2 * t_tail(t, freedom)))
        equivalent = self.p_equivalent
        if equivalent is not None and self.margin is not None:
            both = crossed_tost_rows(self.mean, variance, freedom, self.margin, self.units)
            equivalent = np.maximum(equivalent, both)
        return Evidence(self.units, self.margin, self.mean, variance, np.maximum(self.p, p), equivalent)


def evidence(differences: FloatArray, margin: float | None, ceiling: float = 1.0) -> Evidence:
    """The tests of ``differences`` [samples, comparisons, units], units >= 2, as `judge` makes them.

    Sign-flip p-values above ``ceiling`` may be too small, yet above it: enough for `Evidence.words` at a
    level up to ``ceiling``.
    """
    samples, comparisons, units = differences.shape
    rows = differences.reshape(-1, units)
    shape = (samples, comparisons)
    return Evidence(
        units=units,
        margin=margin,
        mean=differences.mean(axis=2),
        variance=differences.var(axis=2, ddof=1) / units,
        p=sign_flip_rows(rows, ceiling).reshape(shape),
        p_equivalent=None if margin is None else tost_rows(rows, margin).reshape(shape),
    )


def image_variances(cells: FloatArray) -> tuple[float, float]:
    """Variance between images and residual variance of ``cells`` [units, images], by two-way analysis.

    Both at least 2. The first is what an image adds to the difference in every unit, at least zero.
    """
    units, images = cells.shape
    rows, columns = cells.mean(axis=1, keepdims=True), cells.mean(axis=0, keepdims=True)
    rest = cells - rows - columns + cells.mean()
    residual = float((rest**2).sum()) / ((units - 1) * (images - 1))
    return max(0.0, float(columns.var(ddof=1)) - residual / units), residual


def power(
    effect: float,
    sd: float,
    looks: Sequence[int],
    alphas: Sequence[float],
    family: int,
    margin: float | None = None,
    cells: FloatArray | None = None,
    repetitions: int = 4000,
    seed: int = 0,
    others: Others = "null",
) -> Power:
    """Power of the planned procedure for a true ``effect`` with noise ``sd`` between units; see `Study`.

    ``effect``, ``sd`` and ``margin`` are in the metric's units. Two runs with one seed share their noise.
    """
    study = Study(sd, tuple(looks), tuple(alphas), family, margin, cells, repetitions, seed, others)
    return study.power(effect)


def minimum_detectable(
    sd: float,
    looks: Sequence[int],
    alphas: Sequence[float],
    family: int,
    power: float = 0.8,
    margin: float | None = None,
    cells: FloatArray | None = None,
    repetitions: int = 4000,
    seed: int = 0,
    others: Others = "null",
) -> float | None:
    """The smallest effect that the planned procedure finds with probability ``power``, in the metric's units.

    Found by bisection to one percent. The simulated power must exceed ``power`` by two of its standard
    errors, so that the effect declared has it. None: no effect however large is found that often, as when the
    smallest p times the family exceeds alpha at every look. 0 where nothing varies. ``power`` in (0, 1).
    """
    if not 0 < power < 1:
        raise ValueError(f"power must lie between 0 and 1, not {power}")
    study = Study(sd, tuple(looks), tuple(alphas), family, margin, cells, repetitions, seed, others)
    if not study.can_conclude:
        return None
    scale = study.scale
    if scale == 0:
        return 0.0

    far = _FAR * scale + abs(margin or 0.0)
    if not _is_enough(study, power, far):
        return None
    rough = replace(study, repetitions=max(1, repetitions // _ROUGH))
    start = _smallest(partial(_is_enough, rough, power), scale * _guess(study, power), far, step=1.25)
    return _smallest(partial(_is_enough, study, power), start, far, step=1.03)


def _is_enough(study: Study, power: float, effect: float) -> bool:
    found = study.power(effect)
    return found.power - 2 * found.error >= power


def _guess(study: Study, power: float) -> float:
    """The detectable effect of a fixed normal test at the last look, in standard deviations."""
    from scipy import stats

    level = study.alphas[-1] / study.family
    return float(stats.norm.isf(level / 2) + stats.norm.ppf(max(power, 0.5))) / math.sqrt(study.looks[-1])


def _smallest(is_enough: Callable[[float], bool], start: float, far: float, step: float) -> float:
    """The smallest effect that is enough, by bisection from a guess ``start``; ``far`` is enough."""
    low = high = start
    if is_enough(start):
        while low > start / _FAR and is_enough(low := low / step):
            high = low
    else:
        while high < far and not is_enough(high := min(high * step, far)):
            low = high
    while high / low > _PRECISION:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
