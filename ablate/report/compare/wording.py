"""How a comparison of sweeps words its numbers, and what they may claim."""

from __future__ import annotations

from collections.abc import Sequence

from ablate.report.compare.differences import Difference
from ablate.report.compare.settings import Origin, Setting, about
from ablate.report.compare.side import Side
from ablate.report.compare.whole import Compared, Pair
from ablate.report.words import interval_text, listed
from ablate.statistics.multiplicity import reached

NO_VERDICT = (
    "No difference between sweeps is a verdict: each is what its own searches found, and nothing of this "
    "comparison was declared before the results were known. It says where to look next."
)
_LISTED = 6
_LEAD = 0.05


def number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def signed(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 4) + 0.0:+.4f}"  # no -0.0000


def ground(compared: Compared, pair: Pair) -> str:
    """What two sweeps share, and so how their numbers are compared."""
    a, b = pair.reference, pair.other
    if a.found is None or b.found is None:
        without = " and ".join(side.letter for side in (a, b) if side.found is None)
        return (
            f"Nothing was declared to be confirmed in {without}: only settings are compared, since search "
            "scores are no result."
        )
    if not pair.same_data:
        return _other_data(compared, a, b)
    same = f"{a.letter} and {b.letter} measured the same data ({compared.data[a.letter]}, digest {a.digest})"
    if not pair.scores:
        return f"{same}, but share no arm."
    first = pair.scores[0]
    controls = {*a.controls, *b.controls}
    only = "" if first.arms[0] not in controls else " They share no arm but controls."
    if first.paired:
        n, unit = first.units[0], first.unit
        shared = f"share {n} {unit}s of confirmation" if n else "share seeds of confirmation"
        return f"{same} and {shared}: they are compared {unit} by {unit}.{only}"
    units = "seeds of confirmation" if first.unit == "seed" else "replicates with equal seeds"
    return (
        f"{same}, but share fewer than two {units}: they are compared unpaired, and intervals hold for these "
        f"test images only.{only}"
    )


def _other_data(compared: Compared, a: Side, b: Side) -> str:
    if unknown := [side.why_no_digest for side in (a, b) if not side.digest]:
        return (
            f"It is not known whether {a.letter} and {b.letter} measured the same data, so that their scores "
            f"are not subtracted: {'; '.join(unknown)}."
        )
    names = [f"{compared.data[side.letter]} ({side.digest})" for side in (a, b)]
    return (
        f"{a.letter} and {b.letter} measured different data, {names[0]} and {names[1]}: their scores are not "
        "subtracted, only what arms gain within each."
    )


def sentence(d: Difference) -> str:
    """One difference in words."""
    what = d.name if len(d.arms) == 1 else f"the gain {d.name}"
    what += "".join(f" ({note})" for note in unlike(d))
    if d.why_none:
        return f"{what}: no difference is given: {d.why_none}."
    start = f"{what}: {d.other} - {d.reference} is {signed(d.mean)}"
    if d.same_specs:
        return f"{start}; the trials compared have equal specs, so that only code and machine can differ."
    return f"{start} {interval_text(d.headline)} {_on(d)}: {_lead(d)}."


def unlike(d: Difference) -> list[str]:
    """That arms of one name are not one arm."""
    return [f"{arm} is set differently in {d.reference} and {d.other}" for arm in d.unlike]


def _on(d: Difference) -> str:
    if d.paired:
        where = "on these test images and others like them" if d.wide is not None else "on these test images"
        return f"over {d.units[0]} shared {d.unit}s, {where}"
    return f"over {d.units[0]} and {d.units[1]} {d.unit}s, unpaired, on these test images"


def _lead(d: Difference) -> str:
    """Never stronger than a lead."""
    interval = d.headline
    if d.least_p is not None and not reached(d.least_p, _LEAD):
        return f"too few {d.unit}s to tell anything (p cannot go below {d.least_p:.3g})"
    if interval is None or interval.covers_zero or (d.p is not None and not reached(d.p, _LEAD)):
        return "not told apart, which is not the same as equal"
    return "a lead to follow up, not a verdict"


def settings_in_short(found: Sequence[Setting]) -> str:
    """How many settings differ, and what they are about."""
    if not found:
        return "No setting differs but names, question and tracking."
    counts = [f"{len(keys)} of {about(part)}" for part, keys in _by_part(found).items()]
    return f"Settings that differ: {', '.join(counts)}."


def settings_by_part(found: Sequence[Setting]) -> list[str]:
    """The first few of each part by name."""
    return [f"{about(part)}: {listed(keys, _LISTED)}." for part, keys in _by_part(found).items()]


def _by_part(found: Sequence[Setting]) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for setting in found:
        keys.setdefault(setting.part, []).append(f"`{setting.key}`")
    return keys


def summary_of_origins(found: Sequence[Origin]) -> list[str]:
    """What else differs that numbers depend on."""
    names = [origin.name for origin in found if origin.differs]
    if not names:
        return []
    return [f"They were not made alike, which changes numbers as well: see {', '.join(names)} below."]


def unfinished(sides: Sequence[Side]) -> list[str]:
    """Which sweeps go on."""
    letters = [side.letter for side in sides if side.ended is None]
    have = "has" if len(letters) == 1 else "have"
    return [f"{' and '.join(letters)} {have} not ended: this is what there is so far."] if letters else []


def turned(side: Side) -> list[str]:
    """That differences have the other sign, where a smaller score is better."""
    if side.sign > 0:
        return []
    return [f"Less {side.metric[0]} is better: differences are turned, so that larger is better."]


def stopped_early(sides: Sequence[Side]) -> list[str]:
    """That scores on which a sweep stopped, because of what they were, are no random ones."""
    return [
        f"A look ended the confirmation of {side.letter} after {side.found.seeds} of "
        f"{len(side.found.declared['seeds'])} seeds, since its comparisons were settled by then: scores that "
        "were chosen in this way are biased, and no interval between the sweeps allows for it."
        for side in sides
        if side.found is not None and side.stopped_early
    ]


def control_check(pair: Pair) -> list[str]:
    """Raw pixels train nothing: with the same data, measured in the same way, they score the same."""
    found = next((d for d in pair.scores if d.arms == ("pixels",) and d.paired and d.points), None)
    if found is None:
        return []
    furthest = max(abs(point) for point in found.points)
    names = f"{found.reference} and {found.other}"
    if furthest == 0:
        return [
            f"The control pixels, which trains nothing, has equal scores in {names} on all {found.units[0]} "
            "shared seeds: data and measuring are the same."
        ]
    return [
        f"The control pixels, which trains nothing, differs between {names} by up to {furthest:.4f} on "
        "shared seeds: they did not measure alike, and part of every difference may be that."
    ]
