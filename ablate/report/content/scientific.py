"""Effective rank and accuracy against what the question is about: arms, factors, scientific parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablate.report.content.evidence import Found, points_by_arm
from ablate.report.content.material import PIXELS, Material, Row, number
from ablate.report.content.wording import plural
from ablate.report.document.blocks import Block, Paragraph, Section, bullets, slug
from ablate.report.drawing import Drawn, xy
from ablate.report.figures import Axis, Series
from ablate.report.words import listed
from ablate.spec.base import flatten
from ablate.spec.space import Choice, Distribution

RANK = "rank.h.effective"
_MOST = 12  # parameters that are drawn
_FEWEST = 3  # numbers that an axis is worth


@dataclass(frozen=True)
class Parameter:
    """What lies along an axis, and of which stage the runs are. ``categories``: places are 0, 1, ...; else
    ``at`` gives the number itself."""

    name: str
    stage: str
    at: Callable[[Row], float | None]
    categories: tuple[str, ...] = ()
    log: bool = False
    of_arms: bool = False  # the arms themselves, not a factor that has that name


def scientific(m: Material) -> Found:
    """Both against every scientific parameter, and against one another."""
    every = [p for p in _parameters(m) if m.completed(p.stage)]
    if not every:
        return (
            "Effective rank and accuracy against scientific parameters: no trial was completed, or every key "
            "of the space is `role: nuisance` and there are no `arms`."
        )
    drawn, left_out = every[:_MOST], every[_MOST:]
    figures = [figure for p in drawn for figure in _figures(m, p)]
    figures += [figure for stage in ("confirm", "search") for figure in _rank_and_accuracy(m, stage)]
    if not figures:
        return f"Effective rank and accuracy: no completed trial has {RANK} or a probe of h."
    blocks: list[Block] = [Paragraph(_caution(drawn)), *figures]
    if left_out:
        names = listed([p.name for p in left_out])
        blocks.append(bullets([f"Not drawn, beyond the first {_MOST} parameters: {names}."]))
    return Section("ranks", "Why: effective rank and accuracy", tuple(blocks))


def _caution(drawn: Sequence[Parameter]) -> str:
    said = (
        "The effective rank is exp of the entropy of the normalised squared singular values of centred "
        "training features: at most the width of h. Accuracy is the probe's. The control of raw pixels is "
        "left out."
    )
    if any(p.stage == "search" for p in drawn):
        said += (
            " Search trials differ in all drawn parameters at once and a sampler that learns chose them: "
            "these figures show what went together, not what caused what."
        )
    return said


# --- what is scientific ----------------------------------------------------------------------------------


def _parameters(m: Material) -> Iterator[Parameter]:
    """With arms these and their factors and numbers; else the keys of the space that are no nuisance, and
    what confirmation compared."""
    if m.sweep.arms is not None or m.completed("confirm"):
        arms = tuple(arm for arm in m.arms(m.shown) if arm != PIXELS)
        yield Parameter("arm", m.shown, _place(arms, lambda row: row["arm"]), arms, of_arms=True)
    if m.sweep.arms is not None:
        yield from _of_factors(m)
        yield from _of_arms(m)
        return
    rows = m.completed("search")
    for key, entry in m.sweep.space.items():
        if entry.role != "nuisance" and len({repr(row.get(key)) for row in rows} - {"None"}) > 1:
            yield _of_key(key, entry)


def _of_key(key: str, entry: Distribution) -> Parameter:
    """A key of the space against which search trials are shown."""
    if isinstance(entry, Choice) and any(not _is_number(value) for value in entry.choice):
        texts = tuple(map(_text, entry.choice))
        return Parameter(key, "search", _place(texts, lambda row: _text(row.get(key))), texts)
    log = not isinstance(entry, Choice) and entry.log
    return Parameter(key, "search", lambda row: number(row, key), log=log)


def _of_factors(m: Material) -> Iterator[Parameter]:
    assert m.sweep.arms is not None
    of_arm = m.sweep.arms.levels()
    for factor, levels in m.sweep.arms.factors.items():
        level = {arm: chosen[factor] for arm, chosen in of_arm.items()}
        yield Parameter(factor, m.shown, _place(tuple(levels), _by_arm(level)), tuple(levels))


def _of_arms(m: Material) -> Iterator[Parameter]:
    """Keys that the arms themselves set to several numbers; a drawn key would not be theirs."""
    assert m.sweep.arms is not None
    settings = m.sweep.arms.settings
    given = {arm: dict(flatten(m.sweep.bases[arm].as_dict())) for arm in settings}
    for key in dict.fromkeys(key for changes in settings.values() for key, _ in flatten(changes)):
        values = {arm: v for arm, spec in given.items() if _is_number(v := spec.get(key))}
        if key not in m.sweep.space and len(set(values.values())) >= _FEWEST:
            yield Parameter(key, m.shown, _by_arm(values))


def _place(names: Sequence[Any], of: Callable[[Row], Any]) -> Callable[[Row], float | None]:
    """The place of a run's value among ``names``."""
    places = {name: float(i) for i, name in enumerate(names)}
    return lambda row: places.get(of(row))


def _by_arm(values: Mapping[str, Any]) -> Callable[[Row], Any]:
    """What a run's arm has."""
    return lambda row: values.get(row["arm"])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: Any) -> str:
    """As results.parquet has a value of a column of mixed types."""
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


# --- figures ---------------------------------------------------------------------------------------------


def _figures(m: Material, p: Parameter) -> Iterator[Drawn]:
    accuracy = m.accuracy(p.stage)
    names = (RANK,) if p.of_arms else (RANK, accuracy)  # that of arms stands with the verdicts
    for metric in names:
        series = points_by_arm(m, p.stage, p.at, metric, without=PIXELS)
        if sum(len(s.marks) for s in series) < 2:
            continue
        yield xy(
            "rank-of-arms" if p.of_arms else f"{'rank' if metric == RANK else 'accuracy'}-by-{slug(p.name)}",
            f"{metric} against {p.name}",
            f"{metric} of {_counted(series)} by {p.name}.",
            f"One point a completed trial of {_of(p.stage, metric)}.",
            x=Axis(p.name, log=p.log, categories=p.categories),
            y=Axis(metric),
            series=series,
            narrow=True,
            order=m.order,
        )


def _rank_and_accuracy(m: Material, stage: str) -> Iterator[Drawn]:
    accuracy = m.accuracy(stage)
    series = points_by_arm(m, stage, lambda row: number(row, RANK), accuracy, without=PIXELS)
    if sum(len(s.marks) for s in series) >= 2:
        yield xy(
            f"rank-and-accuracy-{stage}",
            f"{accuracy} against {RANK}",
            f"{accuracy} of {_counted(series)} against {RANK}.",
            f"One point a completed trial of {_of(stage, accuracy)}.",
            x=Axis(RANK),
            y=Axis(accuracy),
            series=series,
            narrow=True,
            order=m.order,
        )


def _counted(series: Sequence[Series]) -> str:
    return ", ".join(f"{plural(len(s.marks), 'trial')} of {s.name}" for s in series)


def _of(stage: str, metric: str) -> str:
    """Of which stage trials are, and on which images the metric is."""
    if metric == RANK:
        return "confirmation" if stage == "confirm" else "the search"
    return "confirmation, on test" if stage == "confirm" else "the search, on validation"
