"""What a design finds at a noise, and what must not be promised of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ablate.report.planning.design import Design
from ablate.report.planning.pilot import FloatArray, Noise
from ablate.report.planning.precision import Precision
from ablate.statistics import smallest_p
from ablate.statistics.power import Others, Power, minimum_detectable, power

_REPETITIONS = ((10, 4000), (12, 2000), (14, 1000))  # of the simulated study, up to so many units ...
_FEWEST = 500  # ... and above: their sign patterns are many


@dataclass(frozen=True)
class Promise:
    """What the design finds at the noise planned with. None: unknown, or not to be had.

    ``detectable`` is the difference found with the power asked for, ``within`` about the same at the ends of
    the sd's interval; ``power`` is that of ``effect`` (``asked``: by the caller; else the margin), and
    ``power_at_sd`` the same at the estimated sd itself. ``mean_units`` are used on average if one arm differs
    by ``effect``, or else by ``detectable``, and ``mean_units_all`` if all do. ``equivalent`` is the smallest
    margin within which arms that are equal are shown to be. ``images`` is the number of test images that are
    taken for a sample; None: all of this holds for these test images only.
    """

    detectable: float | None = None
    within: tuple[float, float] | None = None
    effect: float | None = None
    asked: bool = False
    power: float | None = None
    power_at_sd: float | None = None
    mean_units: float | None = None
    mean_units_all: float | None = None
    equivalent: float | None = None
    images: int | None = None


@dataclass(frozen=True)
class Study:
    """The confirmation of a design, at a noise that is known or not; ``cells`` as in ``statistics.power``."""

    design: Design
    noise: Noise | None
    cells: FloatArray | None
    target: float

    @property
    def level(self) -> float:
        """Of the first step of Holm at the last look."""
        return self.design.alphas[-1] / self.design.family

    @property
    def precision(self) -> Precision | None:
        return None if self.noise is None else Precision.of(self.noise.cautious, self.cells)

    @property
    def _repetitions(self) -> int:
        return next((count for units, count in _REPETITIONS if self.design.units <= units), _FEWEST)

    def promise(self, effect: float | None) -> Promise:
        d, noise = self.design, self.noise
        wanted, asked = (d.margin, False) if effect is None else (effect, True)
        if noise is None or self.precision is None or not d.family:
            return Promise(effect=wanted, asked=asked)
        images = None if self.cells is None else self.cells.shape[1]
        equivalent = self.precision.margin(d.units, self.level, self.target)
        if not d.attainable:
            return Promise(effect=wanted, asked=asked, power=0.0, equivalent=equivalent, images=images)
        detectable = minimum_detectable(
            noise.cautious, d.looks, d.alphas, d.family, self.target, d.margin, self.cells, self._repetitions
        )
        seen = wanted or detectable
        found = None if seen is None else self._power(seen, noise.cautious)
        return Promise(
            detectable=detectable,
            within=self._within(detectable),
            effect=wanted,
            asked=asked,
            power=found.power if found is not None and wanted is not None else None,
            power_at_sd=None if wanted is None else self._power(wanted, noise.sd).power,
            mean_units=None if found is None else found.mean_seeds,
            mean_units_all=None if seen is None else self._power(seen, noise.cautious, "effect").mean_seeds,
            equivalent=equivalent,
            images=images,
        )

    def _within(self, detectable: float | None) -> tuple[float, float] | None:
        """What is detected at the ends of the sd's interval, in proportion to the t test's; no difference
        within the margin is ever sought."""
        if detectable is None or self.noise is None or self.noise.interval is None:
            return None
        sds = (*self.noise.interval, self.noise.cautious)
        each = [Precision.of(sd, self.cells) for sd in sds]
        low, high, here = (p.detectable(self.design.units, self.level, self.target) for p in each)
        least = self.design.margin or 0.0
        return max(least, detectable * low / here), max(least, detectable * high / here)

    def _power(self, effect: float, sd: float, others: Others = "null") -> Power:
        d = self.design
        return power(
            effect, sd, d.looks, d.alphas, d.family, d.margin, self.cells, self._repetitions, others=others
        )

    def refusals(self, promise: Promise) -> Iterator[str]:
        """What must not be promised, each with its reason first."""
        d = self.design
        if not d.looks:
            yield (
                "no confirm stage: a search score is the best of many and no result, so that nothing can be "
                "concluded; add confirm"
            )
        elif not d.family:
            yield "nothing is compared: add confirm.references, or arms; controls are only reported"
        else:
            yield from self._too_few()
            if d.attainable:
                yield from self._too_weak(promise)
            yield from self._not_equivalent(promise)

    def _too_few(self) -> Iterator[str]:
        d = self.design
        if d.attainable:
            return
        p = min(1.0, smallest_p(d.units) * d.family)
        at = f"{d.alphas[-1]:.3g}" + (", the alpha of the last look" if len(d.looks) > 1 else "")
        holm = f" times {d.family} comparisons (Holm)" if d.family > 1 else ""
        needed = d.needed
        yield (
            f"{d.units} {d.unit}s are too few to call anything better or worse: the smallest p that they can "
            f"give{holm} is {p:.3g}, above {at}; "
            + ("no number of them would do" if needed is None else f"{needed} {d.unit}s are needed")
        )

    def _too_weak(self, promise: Promise) -> Iterator[str]:
        if not promise.asked or promise.power is None or promise.power >= self.target:
            return
        assert self.precision is not None
        assert promise.effect is not None
        enough = self.precision.units_to_find(promise.effect, self.level, self.target)
        yield (
            f"a difference of {promise.effect:g} is found with power {promise.power:.2f} only, not "
            f"{self.target:g}; {self._would_do(enough)}"
        )

    def _not_equivalent(self, promise: Promise) -> Iterator[str]:
        d = self.design
        if d.margin is None or promise.equivalent is None or promise.equivalent <= d.margin:
            return
        assert self.precision is not None
        enough = self.precision.units_to_equate(d.margin, self.level, self.target)
        yield (
            f"the margin {d.margin:g} is too small to show equivalence with power {self.target:g} at this "
            f"noise: from about {promise.equivalent:.2g} on it could be shown; {self._would_do(enough)}"
        )

    def _would_do(self, enough: int | None) -> str:
        if enough is not None:
            return f"about {enough} {self.design.unit}s would do"
        images = "" if self.cells is None else " with so few test images"
        return f"no number of {self.design.unit}s would do{images}"
