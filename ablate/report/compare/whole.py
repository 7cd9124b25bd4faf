"""Everything that a comparison of sweeps comes to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.ledger import Event
from ablate.report.compare.aggregates import Aggregates, aggregates
from ablate.report.compare.differences import Difference, of_gains, of_scores, same_data
from ablate.report.compare.proposal import proposal
from ablate.report.compare.settings import Origin, Setting, origins, settings
from ablate.report.compare.side import NotComparable, Side, data_names, letters
from ablate.report.compare.timing import Timing, timing
from ablate.report.finite import finite
from ablate.report.words import tree

_MEASURED_BY = {"probe": ("probe_l2", "images"), "knn": ("knn", "images")}  # keys of `measure`


@dataclass(frozen=True)
class Pair:
    """Two sweeps: differences of the scores of shared arms (if the data are the same), and of what arms gain
    over others. ``arms`` is the proposal of a sweep that would settle it, ``why_no_arms`` why there is
    none."""

    reference: Side
    other: Side
    same_data: bool
    scores: tuple[Difference, ...]
    gains: tuple[Difference, ...]
    arms: Mapping[str, Any]
    why_no_arms: str


@dataclass(frozen=True)
class Compared:
    """``data`` maps letters to what a sweep's data are called. ``groups`` are the letters of sweeps known to
    have measured the same data. ``pairs`` hold each sweep against the first of its group, and each group's
    first against the first of all; groups whose data are known come first. ``aggregates`` is over the first
    sweep of each of those."""

    sides: tuple[Side, ...]
    data: Mapping[str, str]
    groups: tuple[tuple[str, ...], ...]
    settings: tuple[Setting, ...]
    origins: tuple[Origin, ...]
    pairs: tuple[Pair, ...]
    aggregates: Aggregates | None
    timing: Timing

    @property
    def metric(self) -> str:
        return self.sides[0].metric[0]

    def side(self, letter: str) -> Side:
        return next(side for side in self.sides if side.letter == letter)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that are not finite are null."""
        found: dict[str, Any] = finite(
            {
                "metric": self.metric,
                "sweeps": {side.letter: self._tree(side) for side in self.sides},
                "same_data": self.groups,
                "settings": [_fields(each) for each in self.settings],
                "origins": [_fields(each) for each in self.origins],
                "pairs": [_pair_tree(pair) for pair in self.pairs],
                "aggregates": None if self.aggregates is None else dataclasses.asdict(self.aggregates),
                "timing": _fields(self.timing),
            }
        )
        return found

    def _tree(self, side: Side) -> dict[str, Any]:
        return {
            "name": side.spec.name,
            "question": side.spec.question,
            "data": self.data[side.letter],
            "digest": side.digest,
            "ended": None if side.ended is None else side.ended["reason"],
            "arms": side.arms,
            "claims": None if side.claims is None else tree(side.claims),
        }


def compare(sweeps: Sequence[tuple[str, Path, list[Event]]]) -> Compared:
    """Two or more sweeps: how each is called, its folder, and its events.

    Raises NotComparable for fewer than two, for one named twice, for one in which nothing has happened, or if
    they confirm by different metrics, or by one that they measure differently; ValueError for events that are
    not a sweep's, and pydantic's ValidationError for those of another version.
    """
    if len(sweeps) < 2:
        raise NotComparable("a comparison takes two sweeps or more")
    if empty := [label for label, _, events in sweeps if not events]:
        raise NotComparable(f"{empty[0]}: nothing has happened yet, so there is nothing to compare")
    sides = tuple(
        Side(letter, label, folder, events)
        for letter, (label, folder, events) in zip(letters(len(sweeps)), sweeps, strict=True)
    )
    _check(sides)
    groups = _groups(sides)
    return Compared(
        sides=sides,
        data=data_names(sides),
        groups=tuple(tuple(side.letter for side in group) for group in groups),
        settings=settings(sides),
        origins=origins(sides),
        pairs=tuple(_pair(*two) for two in _pairs(groups)),
        aggregates=aggregates([group[0] for group in groups]),
        timing=timing(sides),
    )


def _check(sides: Sequence[Side]) -> None:
    folders: dict[Path, str] = {}
    for side in sides:
        folder = side.folder.resolve()
        if folder in folders:
            raise NotComparable(f"{side.label}: is the same sweep as {folders[folder]}")
        folders[folder] = side.label
    metric = sides[0].metric[0]
    if found := _differing(sides, [f"{side.metric[0]} ({side.metric[1]})" for side in sides]):
        raise NotComparable(
            f"they are confirmed by different metrics, which do not compare: {found}. A sweep's is the test "
            "counterpart of its search.objective"
        )
    for key in _MEASURED_BY.get(metric.partition(".")[0], ()):
        if found := _differing(sides, [str(side.sweep["base"]["measure"][key]) for side in sides]):
            raise NotComparable(
                f"they measure {metric} differently, so that its values do not compare: "
                f"measure.{key} is {found}"
            )


def _differing(sides: Sequence[Side], values: Sequence[str]) -> str:
    """The value of each sweep in words, "" if all are the same."""
    if len(set(values)) == 1:
        return ""
    return ", ".join(f"{value} in {side.name}" for side, value in zip(sides, values, strict=True))


def _groups(sides: Sequence[Side]) -> list[list[Side]]:
    """Sweeps by the data that they measured; one whose data are not known is alone, and comes after those
    that can be a reference for others."""
    groups: list[list[Side]] = []
    for side in sides:
        group = next((group for group in groups if same_data(group[0], side)), None)
        if group is None:
            groups.append([side])
        else:
            group.append(side)
    return sorted(groups, key=lambda group: not group[0].digest)


def _pairs(groups: Sequence[Sequence[Side]]) -> list[tuple[Side, Side]]:
    within = [(group[0], other) for group in groups for other in group[1:]]
    return within + [(groups[0][0], group[0]) for group in groups[1:]]


def _pair(reference: Side, other: Side) -> Pair:
    known = reference.found is not None and other.found is not None
    arms, why = proposal(reference, other)
    return Pair(
        reference=reference,
        other=other,
        same_data=same_data(reference, other),
        scores=of_scores(reference, other) if known else (),
        gains=of_gains(reference, other) if known else (),
        arms=arms,
        why_no_arms=why,
    )


def _pair_tree(pair: Pair) -> dict[str, Any]:
    return {
        "reference": pair.reference.letter,
        "other": pair.other.letter,
        "same_data": pair.same_data,
        "scores": [_fields(each) for each in pair.scores],
        "gains": [_fields(each) for each in pair.gains],
        "arms": dict(pair.arms),
    }


def _fields(value: Any) -> dict[str, Any]:
    return dataclasses.asdict(value)
