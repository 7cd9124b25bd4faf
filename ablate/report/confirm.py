"""What the confirm stage established: the best configuration against each other arm, seed by seed.

The claim that can be made here is *these two configurations differ* (design, section 4). Its unit is the
seed: seed s gives both arms the same initial encoder, data order, views and split, so they are compared by
the differences within seeds. The test images are a sample too. Two 95% intervals are therefore given:

- over seeds, for these test images: the paired t interval;
- over seeds and test images: with D [S, E] the differences of correctness (-1, 0, 1) of S seeds on E
  images, a t interval around the mean of D with variance var(row means)/S + var(column means)/E and
  Satterthwaite's degrees of freedom. The two are crossed effects, and the sum counts their interaction
  twice, which errs on the safe side. (Simulated with 5 and 10 seeds, 360 and 2,000 images and equal arms
  it covered 94 to 98%, the interval over seeds alone 64 to 96%, a bootstrap of both 89 to 99%.)

That a *kind* of head is better would need independent searches, and is never said here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ablate.ledger import Event
from ablate.report.trials import TrialRecord, fold_trials, opening

BEST = "best"
LEVEL = 0.95
_ENUMERATED = 2**16  # sign patterns that are all tried: exact up to 16 seeds

Claim = Literal["differ", "differ on these images", "not established", "blocked"]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    low: float
    high: float

    @property
    def covers_zero(self) -> bool:
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Difference:
    """``best`` minus ``arm`` in ``metric``, over ``seeds`` that both have; ``missing`` seeds lack one."""

    arm: str
    role: Literal["reference", "control"]
    metric: str
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    best: tuple[float, ...]
    other: tuple[float, ...]
    over_seeds: Interval | None
    over_seeds_and_images: Interval | None
    images: int | None
    sign_flip_p: float | None

    @property
    def differences(self) -> tuple[float, ...]:
        return tuple(b - o for b, o in zip(self.best, self.other, strict=True))

    @property
    def mean(self) -> float:
        return float(np.mean(self.differences)) if self.seeds else math.nan

    @property
    def claim(self) -> Claim:
        """The strongest claim that the design earned; missing pairs block any."""
        if self.missing or self.over_seeds is None:
            return "blocked"
        wide = self.over_seeds_and_images
        if self.over_seeds.covers_zero:
            return "not established"
        return "differ on these images" if wide is None or wide.covers_zero else "differ"


def compare_arms(folder: Path, events: list[Event]) -> tuple[Difference, ...]:
    """Differences of the test metric between ``best`` and each other arm of confirm, references first.

    ``folder`` is the sweep's; per-example correctness is read from ``trials/<trial>/correct.npz``. A trial
    counts if it has a test score, also if it collapsed. Empty if the sweep has no confirm stage.
    """
    sweep = opening(events)["sweep"]
    records = [r for r in fold_trials(events).values() if r.stage == "confirm"]
    controls = tuple((sweep.get("confirm") or {}).get("controls", ()))
    arms = [arm for arm in dict.fromkeys(r.arm for r in records) if arm != BEST]
    arms.sort(key=lambda arm: arm in controls)
    metric = metric_on_test(sweep)
    return tuple(_compare(folder, records, arm, metric, arm in controls) for arm in arms)


def metric_on_test(sweep: dict[str, Any]) -> str:
    """The test counterpart of the metric that the search improved, or else the linear probe of h."""
    name = str(sweep["search"]["objective"]["metric"])
    return name.removesuffix(".val") + ".test" if name.endswith(".val") else "probe.h.test"


def _compare(folder: Path, records: list[TrialRecord], arm: str, metric: str, is_control: bool) -> Difference:
    by_arm = {name: {r.seed: r for r in records if r.arm == name} for name in (BEST, arm)}
    scored = {
        name: {seed: r.metrics[metric] for seed, r in rows.items() if r.finished and metric in r.metrics}
        for name, rows in by_arm.items()
    }
    wanted = sorted({seed for rows in by_arm.values() for seed in rows})
    seeds = [seed for seed in wanted if seed in scored[BEST] and seed in scored[arm]]
    best, other = ([scored[name][seed] for seed in seeds] for name in (BEST, arm))
    pairs = [(by_arm[BEST][seed].trial, by_arm[arm][seed].trial) for seed in seeds]
    cells = correctness_differences(folder, pairs, metric)
    differences = np.subtract(best, other)
    return Difference(
        arm=arm,
        role="control" if is_control else "reference",
        metric=metric,
        seeds=tuple(seeds),
        missing=tuple(seed for seed in wanted if seed not in seeds),
        best=tuple(best),
        other=tuple(other),
        over_seeds=t_interval(differences),
        over_seeds_and_images=None if cells is None else crossed_interval(cells),
        images=None if cells is None else cells.shape[1],
        sign_flip_p=sign_flip_p(differences),
    )


def t_interval(differences: Sequence[float] | FloatArray) -> Interval | None:
    """95% t interval of the mean of paired differences; None below two of them."""
    d = np.asarray(differences, dtype=np.float64)
    if d.size < 2:
        return None
    return _around(float(d.mean()), float(d.var(ddof=1)) / d.size, d.size - 1)


def crossed_interval(cells: FloatArray) -> Interval | None:
    """95% interval of the mean of ``cells`` [seeds, images], both of them samples; None below 2 x 2."""
    seeds, images = cells.shape
    if seeds < 2 or images < 2:
        return None
    by_seed = float(cells.mean(1).var(ddof=1)) / seeds
    by_image = float(cells.mean(0).var(ddof=1)) / images
    spread = by_seed**2 / (seeds - 1) + by_image**2 / (images - 1)
    freedom = (by_seed + by_image) ** 2 / spread if spread > 0 else seeds - 1
    return _around(float(cells.mean()), by_seed + by_image, freedom)


def _around(mean: float, variance: float, freedom: float) -> Interval:
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(variance)
    return Interval(mean - half, mean + half)


def sign_flip_p(differences: Sequence[float] | FloatArray) -> float | None:
    """Two-sided p of the mean under random signs; None below two differences.

    Exact (all 2^n sign patterns) up to 16 differences, from 65,536 random patterns above. It cannot go
    below 2^(1-n), nor, sampled, below 2/65,537. Its level is exact if the
    differences are symmetric about zero under the null.
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.size < 2:
        return None
    test = stats.permutation_test(
        (d,),
        lambda x, axis: np.mean(x, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_ENUMERATED,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def correctness_differences(folder: Path, pairs: list[tuple[str, str]], metric: str) -> FloatArray | None:
    """Correctness of the first trial of each pair minus the second's, [pairs, images]; None if not stored."""
    if not metric.endswith(".test") or not pairs:
        return None
    rows = [[_correct(folder, trial, metric) for trial in pair] for pair in pairs]
    known = [(a, b) for a, b in rows if a is not None and b is not None]
    if len(known) < len(rows) or len({x.shape for pair in known for x in pair}) != 1:
        return None
    return np.stack([a - b for a, b in known])


def _correct(folder: Path, trial: str, metric: str) -> FloatArray | None:
    path = folder / "trials" / trial / "correct.npz"
    if not path.exists():
        return None
    with np.load(path) as stored:
        name = metric.removesuffix(".test")
        return stored[name].astype(np.float64) if name in stored else None
