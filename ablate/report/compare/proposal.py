"""The sweep that would turn a comparison of two sweeps into a claim: what differs between them, as arms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ablate.report.compare.side import Side
from ablate.spec.arms import ArmsSpec, refused, touches
from ablate.spec.explain import explain
from ablate.spec.sweep import SweepSpec

_MOST = 12  # keys of a setting: with more there is no one thing to ask about
_FACTOR = "setting"


def proposal(reference: Side, other: Side) -> tuple[dict[str, Any], str]:
    """The ``arms`` of a file that extends the reference's, and declares what sets the two sweeps apart.

    Without arms there are two, named by the sweeps' letters. Arms that are listed come a second time, in the
    other sweep's setting; to arms that are made of factors it is one factor more. The sweep that results has
    been validated. Empty, with the reason in words, where there is none.
    """
    changes = _changes(reference.sweep["base"], other.sweep["base"])
    if not changes:
        return {}, "their base is the same, and what differs is not a setting of a trial"
    space = reference.spec.space
    changes = {key: value for key, value in changes.items() if key not in space or space[key].when}
    if not changes:
        return {}, "what differs in their base is drawn by the search anyway"
    if (why := refused(changes)) is not None:
        return {}, f"{why[0]} differs, and {why[1]}"
    if len(changes) > _MOST:
        return {}, f"{len(changes)} settings of a trial differ: there is no one thing to ask about"
    arms = reference.spec.arms
    if arms is not None and (both := _set_twice(arms, changes)):
        return {}, f"{both} differs, and an arm sets it as well"
    new = _new(arms, reference.letter, other.letter, changes)
    if (mistake := _mistake(reference, new)) is not None:
        return {}, f"as arms of one sweep they are no valid file ({mistake})"
    return new, ""


def _changes(reference: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys of ``other`` that differ; a section of another kind as a whole."""
    found: dict[str, Any] = {}
    for name, value in other.items():
        was = reference.get(name)
        if value == was:
            continue
        if isinstance(value, dict) and isinstance(was, dict) and value.get("kind") == was.get("kind"):
            found |= {f"{name}.{key}": v for key, v in _changes(was, value).items()}
        else:
            found[name] = value
    return found


def _set_twice(arms: ArmsSpec, changes: Mapping[str, Any]) -> str:
    """A key that both the sweeps and an arm change, "" if there is none."""
    keys = [key for setting in arms.settings.values() for key in setting]
    return next((key for key in changes if any(touches(key, k) for k in keys)), "")


def _new(arms: ArmsSpec | None, first: str, second: str, changes: dict[str, Any]) -> dict[str, Any]:
    if arms is None:
        return {"baseline": first, "each": {first: {}, second: changes}}
    if arms.factors:
        return {"factors": {_FACTOR: {first: {}, second: changes}}}
    return {"each": {f"{name}-{second}": {**setting, **changes} for name, setting in arms.each.items()}}


def _mistake(reference: Side, new: Mapping[str, Any]) -> str | None:
    arms = dict(reference.sweep["arms"] or {})
    for name, value in new.items():
        arms[name] = {**arms.get(name, {}), **value} if isinstance(value, dict) else value
    raw = json.loads(json.dumps({**reference.sweep, "arms": arms}))
    try:
        SweepSpec.model_validate(raw)
    except ValidationError as error:
        return str(explain(error, SweepSpec, raw)[0])
    return None
