"""The figures of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.report.compare.aggregates import Aggregates
from ablate.report.compare.differences import Difference
from ablate.report.compare.side import Side, named
from ablate.report.compare.whole import Compared
from ablate.report.compare.wording import signed
from ablate.report.drawing import Drawn, forest, xy
from ablate.report.figures import Axis, Mark, Row, Series
from ablate.statistics.verdict import Verdict


def verdicts(compared: Compared) -> list[Drawn]:
    """The declared comparisons of all sweeps, each with the verdict of its own sweep."""
    declared = dict.fromkeys(pair for side in compared.sides for pair in side.comparisons)
    rows = [
        _verdict_row(side, v)
        for pair in declared
        for side in compared.sides
        for v in _verdicts(side)
        if (v.comparison.arm, v.comparison.against) == pair
    ]
    if not any(row.points for row in rows):
        return []
    told = "; ".join(f"{row.name}: {row.word}, {signed(row.mean)}" for row in rows)
    return [
        forest(
            "figure-verdicts",
            "What each sweep declared, and found",
            f"Differences within each sweep, with the verdict that it earned there. {told}.",
            "A point is a seed (or replicate), a line the interval of that sweep's own verdict. Different "
            "words in two sweeps do not make the sweeps different.",
            label=f"difference of {compared.metric} within a sweep",
            rows=rows,
        )
    ]


def _verdicts(side: Side) -> tuple[Verdict, ...]:
    return side.claims.verdicts if side.claims is not None else ()


def _verdict_row(side: Side, v: Verdict) -> Row:
    c, interval = v.comparison, v.wide or v.interval
    values = side.values((c.arm, c.against))
    points = tuple(
        Mark(value.number, 0.0, f"{side.letter}, {named(seeds)}", f"{side.letter}-{value.trials[0]}")
        for seeds, value in values.items()
        if value.number is not None
    )
    return Row(
        name=f"{c.arm} - {c.against}, {side.letter}",
        mean=v.mean if c.differences else None,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        points=points,
        word=v.word,
    )


def differences(id: str, title: str, label: str, found: Sequence[Difference]) -> list[Drawn]:
    """Differences between two sweeps."""
    rows = [_row(d) for d in found if not d.why_none]
    if not rows:
        return []
    told = "; ".join(f"{row.name}: {signed(row.mean)}" for row in rows)
    return [
        forest(
            id,
            title,
            f"{label}. {told}.",
            "Explored: intervals at 95% each, without a correction for how many there are. A point is a "
            "shared seed (or replicate), linked to the trial of the sweep named first in the difference.",
            label=label,
            rows=rows,
        )
    ]


def _row(d: Difference) -> Row:
    interval = d.headline
    points = tuple(
        Mark(point, 0.0, named(seeds), f"{d.other}-{trial}")
        for point, seeds, trial in zip(d.points, d.seeds, d.trials, strict=True)
    )
    return Row(
        name=d.name,
        mean=d.mean,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        points=points,
        word="explored",
    )


def profiles(found: Aggregates, metric: str) -> list[Drawn]:
    """The share of scores above each threshold, with pointwise bands."""
    if not found.arms or not found.thresholds:
        return []
    series = [
        Series(
            name=each.arm,
            marks=tuple(Mark(t, share) for t, share in zip(found.thresholds, each.profile, strict=True)),
            kind="line",
            band=tuple((t, low, high) for t, (low, high) in zip(found.thresholds, each.band, strict=False)),
        )
        for each in found.arms
    ]
    halves = [f"{each.arm} {_half(found, each.profile)}" for each in found.arms]
    return [
        xy(
            "figure-profiles",
            "Performance profiles over the data sets",
            f"Share of the scores of each arm above a threshold. Half lie above: {'; '.join(halves)}.",
            "Higher is better at every threshold. Bands: pointwise 95% stratified bootstrap over seeds, for "
            "these data sets; too narrow below about ten seeds.",
            x=Axis(f"threshold of {metric}"),
            y=Axis("share of scores above it"),
            series=series,
        )
    ]


def _half(found: Aggregates, profile: Sequence[float]) -> str:
    """The greatest threshold that at least half of the scores exceed."""
    above = [t for t, share in zip(found.thresholds, profile, strict=True) if share >= 0.5]
    return f"{max(above, default=found.thresholds[0]):.3f}"
