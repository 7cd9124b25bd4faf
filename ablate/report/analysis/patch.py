"""The change to make to a sweep's file: wider ranges where trials press against an end, dead keys fixed.

It is a file that ``extends`` the one analysed. A proposal is taken only if that file loads, by the very
checks that a user's file goes through: a range is widened by half of its width, or by less where that is
refused.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.report.analysis.boundaries import Boundaries, Saturation
from ablate.report.analysis.dead import MOST_DEAD, Relations
from ablate.report.analysis.pools import Searched
from ablate.report.analysis.widen import DIGITS, bounds_of, widened
from ablate.spec.errors import SpecError
from ablate.spec.load import load_sweep
from ablate.spec.space import Choice, Distribution, FloatRange, IntRange
from ablate.spec.sweep import SweepSpec

_SHARES = (0.5, 0.25, 0.125)  # of the width by which an end is moved: the first that loads
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_WORDS = ("true", "false", "null", "yes", "no", "on", "off")  # not text in one version of YAML or another

Entry = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """The new entry of ``space`` for one key, and why."""

    key: str
    entry: Entry
    why: str

    @property
    def line(self) -> str:
        """The entry as it stands in the file."""
        return f"{self.key}: {flow(self.entry)}"


@dataclass(frozen=True)
class Patch:
    """``text`` is the whole file, empty without changes; ``refused`` says what was not proposed, and why."""

    changes: tuple[Change, ...]
    refused: tuple[str, ...]
    text: str


def patch_of(searched: Searched, ends: Boundaries, relations: Relations) -> Patch:
    """What to change in the space of a sweep, from what was found in all its arms.

    The space is common to the arms, so that what presses in one of them is widened for all. A key is fixed
    only if it is dead in every arm that draws it, and never if its role is scientific.
    """
    sweep, pressed = searched.sweep, _pressed(ends)
    proposals = [_wider(sweep, key, found) for key, found in pressed.items()]
    proposals += [_fixed(searched, key) for key in _dead(searched, relations) if key not in pressed]
    changes = [found for found in proposals if isinstance(found, Change)]
    refused = [found for found in proposals if isinstance(found, str)]
    while len(changes) > 1 and (why := why_not(sweep, changes)):  # each alone was taken
        refused.append(f"{changes.pop().key}: not together with the other changes: {why}")
    return Patch(tuple(changes), tuple(refused), _text(sweep, changes, f"{sweep.name}.yaml"))


def why_not(sweep: SweepSpec, changes: Sequence[Change]) -> str:
    """Why the sweep with these changes does not load; empty if it does."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sweep.json").write_text(json.dumps(sweep.as_dict()))
        (folder / "patch.yaml").write_text(_text(sweep, changes, "sweep.json"))
        try:
            load_sweep(folder / "patch.yaml")
        except SpecError as error:
            return "; ".join(mistake.message for mistake in error.mistakes)
    return ""


def flow(value: Any) -> str:
    """A plain value as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(v)}" for key, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value)


def _text(sweep: SweepSpec, changes: Sequence[Change], extends: str) -> str:
    if not changes:
        return ""
    lines = [f"extends: {flow(extends)}", f"name: {sweep.name[:58]}-again", "space:"]
    for change in changes:
        lines += [f"  # {change.why}", f"  {change.line}"]
    return "\n".join(lines) + "\n"


def _pressed(ends: Boundaries) -> dict[str, list[Saturation]]:
    found: dict[str, list[Saturation]] = {}
    for end in ends.ends:
        if end.pressed:
            found.setdefault(end.key, []).append(end)
    return found


def _wider(sweep: SweepSpec, key: str, pressed: Sequence[Saturation]) -> Change | str:
    """The widest of the wider ranges that the sweep can have; or why there is none."""
    entry = sweep.space[key]
    assert not isinstance(entry, Choice)
    why = "; ".join(
        f"{s.arm}: {s.outer} of the best {s.best} trials in the outer quarter at the {s.end} end "
        f"(p {s.p_adjusted:.2g})"
        for s in pressed
    )
    reason = ""
    for share in _SHARES:
        bounds = widened(entry, dict.fromkeys(s.end for s in pressed), share, key)
        if bounds == bounds_of(entry):
            break
        change = Change(key, _entry(entry, list(bounds)), why)
        if not (reason := why_not(sweep, [change])):
            return change
    if reason:
        return f"{key}: {why}; but a wider range is refused: {reason}"
    return f"{key}: {why}; but {key} may not go further"


def _dead(searched: Searched, relations: Relations) -> Iterator[str]:
    """Keys that are dead in every arm that draws them."""
    for key, entry in searched.sweep.space.items():
        having = [arm for arm in searched.arms if any(key in t.params for t in searched.of(arm))]
        words = {found.arm: found.word for found in relations.found if found.key == key}
        if having and entry.role != "scientific" and all(words.get(arm) == "dead" for arm in having):
            yield key


def _fixed(searched: Searched, key: str) -> Change | str:
    """About the value that the best trial with ``key`` has, as the only one."""
    trials = [t for arm in searched.arms for t in searched.of(arm) if key in t.params]
    scored = [(t.candidate, t.params[key]) for t in trials if t.candidate is not None]
    if not scored:
        return f"{key}: seems to do nothing, but no completed trial says what to fix it to"
    value = max(scored, key=lambda pair: pair[0])[1]
    if isinstance(value, float):
        value = float(f"{value:.{DIGITS}g}")  # it does nothing: nobody needs to know it better
    why = (
        f"explains less than {MOST_DEAD:.0%} of the differences between trials; fixed where the best trial is"
    )
    change = Change(key, _entry(searched.sweep.space[key], value), why)
    refused = why_not(searched.sweep, [change])
    return f"{key}: seems to do nothing, but fixing it is refused: {refused}" if refused else change


def _entry(entry: Distribution, given: Any) -> Entry:
    """An entry of the space with other ends (a list), or with one value, under the same conditions."""
    found: Entry = {}
    if isinstance(given, list) and isinstance(entry, (FloatRange, IntRange)):
        found = {"float" if isinstance(entry, FloatRange) else "int": given}
        found |= {"log": True} if entry.log else {}
        found |= {"step": entry.step} if isinstance(entry, IntRange) and entry.step > 1 else {}
    else:
        found = {"choice": [given]}
    plain = entry.as_dict()
    return found | {name: plain[name] for name in ("when", "role") if plain[name] is not None}
