"""Whether the keys, bounds and conditions of a space fit the trial it varies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ablate.spec.draw import SWITCH, contains, cycle, deciders, lookup, matches, overlay
from ablate.spec.explain import Finding, explain, nearest, show
from ablate.spec.paths import Path, Slot, defaults, keys, kinds, of_kind, section, slots
from ablate.spec.space import Choice, Distribution, FloatRange, IntRange
from ablate.spec.trial import TrialSpec

_ABSENT = object()
_ADAPTER: TypeAdapter[Distribution] = TypeAdapter(Distribution)


def valid_entries(raw: Any) -> dict[str, Distribution]:
    """The entries of a raw space that are distributions at all."""
    found: dict[str, Distribution] = {}
    for key, entry in raw.items() if isinstance(raw, dict) else ():
        try:
            found[key] = _ADAPTER.validate_python(entry)
        except ValidationError:
            continue
    return found


@dataclass(frozen=True)
class _Sweep:
    """What a space is checked against; ``base`` may be anything, ``broken`` entries are no distributions."""

    base: dict[str, Any]
    entries: Mapping[str, Distribution]
    broken: frozenset[str]


def check_space(raw_space: Any, raw_base: Any) -> Iterator[Finding]:
    """Mistakes in keys, bounds and conditions, whatever else is wrong with the file."""
    raw = raw_space if isinstance(raw_space, dict) else {}
    entries = valid_entries(raw)
    base = raw_base if isinstance(raw_base, dict) else {}
    sweep = _Sweep(base, entries, frozenset(raw) - frozenset(entries))
    for key in raw:
        path: Path = ("space", key)
        possible, finding = _possible_slots(key, path, sweep)
        if finding is not None:
            yield finding
        elif key in entries:
            yield from _check_values(key, path, entries[key], possible)
        if key in entries:
            for name, allowed in (entries[key].when or {}).items():
                yield from _check_condition(name, allowed, (*path, "when", name), sweep)
    if keys_of_cycle := cycle(entries):
        message = f"when makes a cycle: {' -> '.join(keys_of_cycle)}"
        yield Finding(("space", keys_of_cycle[0], "when"), message, at_key=True)


def check_space_of_arms(raw_space: Any, raw_base: Any, settings: Mapping[str, Any]) -> Iterator[Finding]:
    """As ``check_space`` where the arms' ``settings`` replace keys of the base: mistakes in every arm."""
    base = raw_base if isinstance(raw_base, dict) else {}
    found = [list(check_space(raw_space, overlay(base, changes))) for changes in settings.values()]
    common = set.intersection(*({f.path for f in findings} for findings in found))
    yield from (f for f in found[0] if f.path in common)


def check_changes(named: Any, at: Path) -> Iterator[Finding]:
    """Mistakes in ``{name: {dotted key or whole section: value}}``, as references and arms are given."""
    for name, values in named.items() if isinstance(named, dict) else ():
        for key, value in values.items() if isinstance(values, dict) else ():
            path: Path = (*at, name, key)
            found = slots(TrialSpec, key)
            if not found:
                yield Finding(path, _unknown(key), at_key=True)
            elif (refused := _refused(key, value, found, path)) is not None:
                yield from refused


def _possible_slots(key: str, path: Path, sweep: _Sweep) -> tuple[list[Slot], Finding | None]:
    """The meanings of ``key`` under the kinds that the base has or the space may draw."""
    found = slots(TrialSpec, key)
    if not found:
        return [], Finding(path, _unknown(key), at_key=True)
    if all(slot.sections for slot in found):
        inside = sorted({k for slot in found for m in slot.sections for k in m.model_fields})
        example = f"name one of its keys, such as {key}.{inside[0]} (allowed: {', '.join(inside)})"
        return [], Finding(path, f"is a whole section; {example}", at_key=True)
    names = key.split(".")
    for depth in range(1, len(names)):
        prefix = ".".join(names[:depth])
        available = _kinds_of(prefix, sweep)
        if (
            available is None
            or key == f"{prefix}.kind"
            or not any(kinds(slot.owners[depth]) for slot in found)
        ):
            continue
        fitting = [s for s in found if set(kinds(s.owners[depth])) & available]
        if not fitting:
            having = sorted({k for s in found for k in kinds(s.owners[depth])})
            message = (
                f"not a key of {prefix}.kind {' or '.join(sorted(available))}, all that this sweep has, but "
                f"of {', '.join(having)}"
            )
            return [], Finding(path, message, at_key=True)
        found = fitting
    return found, None


def _kinds_of(prefix: str, sweep: _Sweep) -> set[str] | None:
    """The kinds that a section may have in this sweep; None if that cannot be told."""
    key = f"{prefix}.kind"
    entry = sweep.entries.get(key)
    if key in sweep.broken:
        return None
    if isinstance(entry, Choice):
        found = {v for v in entry.choice if isinstance(v, str)}
    else:
        value = lookup(sweep.base, key)
        found = {value} if isinstance(value, str) else set()
    known = {k for m in section(TrialSpec, prefix) for k in kinds(m)}
    return found & known or None


def _check_values(key: str, path: Path, entry: Distribution, possible: list[Slot]) -> Iterator[Finding]:
    if isinstance(entry, Choice):
        for i, value in enumerate(entry.choice):
            yield from _refused(key, value, possible, (*path, "choice", i)) or ()
    elif isinstance(entry, IntRange):
        for i, value in enumerate(entry.int):
            yield from _refused(key, value, possible, (*path, "int", i)) or ()
    elif _takes_only_whole_numbers(possible):
        yield Finding((*path, "float"), f"{key} takes whole numbers; use int: [low, high]", at_key=True)
    else:
        for i, bound in enumerate(entry.float):
            yield from _refused(key, bound, possible, (*path, "float", i)) or ()


def _takes_only_whole_numbers(possible: list[Slot]) -> bool:
    def refused_as_real(slot: Slot) -> bool:
        try:
            slot.value(0.5)
        except ValidationError as error:
            return any(e["type"] in ("int_type", "int_from_float") for e in error.errors())
        return False

    return all(refused_as_real(slot) for slot in possible)


def _refused(key: str, value: Any, possible: list[Slot], path: Path) -> list[Finding] | None:
    """Mistakes if no meaning of ``key`` takes ``value``: those of the first, or of all kinds together."""
    if key == SWITCH and value is None:
        return None
    refusals: list[list[Finding]] = []
    for slot in possible:
        try:
            slot.value(value)
            return None
        except ValidationError as error:
            refusals.append(explain(error, slot.holder, {"value": value}))
    names = sorted({k for slot in possible for k in kinds(slot.owner)}) if key.endswith(".kind") else []
    if names:
        return [
            Finding(
                path, f"unknown kind {show(value)}{nearest(str(value), names)} (allowed: {', '.join(names)})"
            )
        ]
    return [Finding((*path, *f.path[1:]), f.message, f.at_key) for f in refusals[0]]


def _check_condition(name: str, allowed: Any, path: Path, sweep: _Sweep) -> Iterator[Finding]:
    found = slots(TrialSpec, name)
    if not found:
        yield Finding(path, _unknown(name), at_key=True)
        return
    entry = sweep.entries.get(name)
    if isinstance(entry, FloatRange):
        yield Finding(path, f"{name} is drawn from a range, so it never equals a value", at_key=True)
        return
    values = allowed if isinstance(allowed, list) else [allowed]
    for i, value in enumerate(values):
        at = (*path, i) if isinstance(allowed, list) else path
        if entry is not None and not contains(entry, value):
            yield Finding(at, f"{show(value)} cannot occur: space.{name} has {_summary(entry)}")
        elif entry is None and (refused := _refused(name, value, found, at)):
            yield from refused
            return
    if not values:
        yield Finding(path, "the list is empty, so this is never drawn")
    if entry is None and name not in sweep.broken:
        yield from _never(name, values, path, sweep)


def _never(name: str, values: list[Any], path: Path, sweep: _Sweep) -> Iterator[Finding]:
    """A key outside the space has the base's value, or the default of a kind that the space may draw."""
    prefixes = [".".join(name.split(".")[:i]) for i in range(1, name.count(".") + 1)]
    if any(len(section(TrialSpec, p)) > 1 and _kinds_of(p, sweep) is None for p in prefixes):
        return  # the kind is itself a mistake
    drawn = {k: sweep.entries[k] for k in deciders(name) if k in sweep.entries}
    choices = {k: entry.choice for k, entry in drawn.items() if isinstance(entry, Choice)}
    points = product(*choices.values())
    reachable = [_value(overlay(sweep.base, dict(zip(choices, p, strict=True))), name) for p in points]
    if not any(matches(value, values) for value in reachable):
        shown = ", ".join(dict.fromkeys("absent" if v is _ABSENT else show(v) for v in reachable))
        yield Finding(path, f"never holds: {name} is not in the space, and it is {shown} in base")


def _value(tree: Any, name: str) -> Any:
    """What ``name`` is in an unchecked trial, defaults included."""
    at = ""
    for step in name.split("."):
        models = section(TrialSpec, at)
        model = models[0] if len(models) == 1 else of_kind(models, lookup(tree, f"{at}.kind"))
        at = f"{at}.{step}".removeprefix(".")
        if lookup(tree, at, _ABSENT) is not _ABSENT:
            continue
        if model is None or step not in defaults(model):
            return _ABSENT
        tree = overlay(tree, {at: defaults(model)[step]})
    return lookup(tree, name, _ABSENT)


def _summary(entry: Choice | IntRange) -> str:
    return show(list(entry.choice)) if isinstance(entry, Choice) else f"int: {show(list(entry.int))}"


def _unknown(key: str) -> str:
    """What to say of a dotted key that no trial has: the nearest, and what its last good section allows."""
    names = key.split(".")
    known = next(
        ".".join(names[:i])
        for i in range(len(names), -1, -1)
        if not i or section(TrialSpec, ".".join(names[:i]))
    )
    allowed = dict.fromkeys(k for m in section(TrialSpec, known) for k in m.model_fields)
    every = sorted(set(keys(TrialSpec)))
    hint = nearest(key, every)
    if not hint:
        longer = next((k for k in every if k.rpartition(".")[2] == names[-1]), None)
        hint = f"; did you mean {longer!r}?" if longer else ""
    under = f" under {known}" if known else ""
    return f"unknown key{hint} (allowed{under}: {', '.join(allowed)})"
