"""What a space means: the order its keys are drawn in, when each is drawn, and the trial that results.

Pure: where the values come from is the caller's ``suggest``.

Rules of :func:`apply`, which also decide what ``when`` sees:

- A new ``X.kind`` starts section X from that kind's own defaults; only the given keys of X then apply.
- A mapping replaces a whole section (``head: {kind: mlp, out: 64}``).
- A key under an absent section creates it (``head.sparsity.shrink`` where the base has no sparsity).
- Strength of sparsity is ``weight`` or ``shrink``: giving one clears the other.
- ``head.sparsity.penalty: null`` means no sparsity, so a search can switch it off with
  ``head.sparsity.penalty: {choice: [null, l1, l21]}`` and give the strength
  ``when: {head.sparsity.penalty: [l1, l21]}``.
- A new data source brings its own preset of views if the base's views are exactly the preset of the base's
  source; views that differ from it are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pydantic import ValidationError

from ablate.spec.explain import explain
from ablate.spec.parts import PRESET_OF_SOURCE
from ablate.spec.paths import defaults, of_kind, section
from ablate.spec.space import Choice, Distribution, IntRange, Scalar
from ablate.spec.trial import TrialSpec
from ablate.spec.views import VIEW_PRESETS, ViewSpec

SPARSITY = "head.sparsity"
SWITCH = f"{SPARSITY}.penalty"  # null here: no such section
RIVALS = {f"{SPARSITY}.weight": f"{SPARSITY}.shrink", f"{SPARSITY}.shrink": f"{SPARSITY}.weight"}
_STARTERS = ("kind", "penalty")  # last names of keys that start their section afresh or remove it
_MISSING = object()


def order(space: Mapping[str, Distribution]) -> list[str]:
    """Keys in the order of the file, but each after those its ``when`` depends on.

    Raises ValueError naming the keys of a cycle (:func:`cycle`).
    """
    if keys := cycle(space):
        raise ValueError(f"when makes a cycle: {' -> '.join(keys)}")
    sorter = TopologicalSorter(_graph(space))
    sorter.prepare()
    place = {key: i for i, key in enumerate(space)}
    result: list[str] = []
    ready: list[str] = list(sorter.get_ready())
    while ready:
        key = min(ready, key=place.__getitem__)
        ready.remove(key)
        result.append(key)
        sorter.done(key)
        ready += sorter.get_ready()
    return result


def cycle(space: Mapping[str, Distribution]) -> list[str]:
    """Keys each of which waits for the next, the first and last the same; empty if there is no such cycle."""
    try:
        TopologicalSorter(_graph(space)).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def draw(
    space: Mapping[str, Distribution], suggest: Callable[[str, Distribution], Scalar], base: TrialSpec
) -> dict[str, Scalar]:
    """One point of the space: ``suggest(key, distribution)`` for every key whose ``when`` holds.

    ``when`` is judged on the trial as drawn so far (:func:`apply`); a key of the space that was itself not
    drawn meets no condition.
    """
    start = base.as_dict()
    drawn: dict[str, Scalar] = {}
    for key in order(space):
        when = space[key].when or {}
        if all(_holds(name, allowed, space, drawn, start) for name, allowed in when.items()):
            drawn[key] = suggest(key, space[key])
    return drawn


def always(space: Mapping[str, Distribution], base: TrialSpec) -> list[str]:
    """The keys that every draw has, in the order of the file.

    They are those without ``when``, and those whose ``when`` holds in the base and depends on no key drawn.
    """
    start = base.as_dict()
    return [
        key
        for key, entry in space.items()
        if not depends_on(entry, space)
        and all(_holds(name, allowed, space, {}, start) for name, allowed in (entry.when or {}).items())
    ]


def apply(base: TrialSpec, params: Mapping[str, Any]) -> TrialSpec:
    """``base`` with the dotted keys of ``params`` replaced (rules: module docstring).

    Raises ValueError (pydantic's ValidationError where a model refuses it) if the result is not a trial.
    """
    _no_strength_without_penalty(params)
    return TrialSpec.model_validate(overlay(base.as_dict(), params))


def why_not(error: ValueError) -> str:
    """The reason for which :func:`apply` refused, in one line."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    return "; ".join(str(found) for found in explain(error, TrialSpec, {}))


def overlay(tree: dict[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The plain-dictionary form of :func:`apply`, not yet validated; ``tree`` is left as it is."""
    result = _with_views_of_new_source(_copy(tree), params)
    for key in sorted(params, key=_outer_and_kinds_first):
        _put(result, key, params[key])
        if key in RIVALS and RIVALS[key] not in params:
            _put(result, RIVALS[key], None)
    return result


def matches(value: Any, allowed: Any) -> bool:
    """Whether ``value`` is ``allowed``, or among them; ``true`` is not 1."""
    options = allowed if isinstance(allowed, (list, tuple)) else (allowed,)
    return any(isinstance(value, bool) == isinstance(o, bool) and value == o for o in options)


def contains(entry: Distribution, value: Any) -> bool:
    """Whether ``value`` may be drawn."""
    if isinstance(entry, Choice):
        return matches(value, entry.choice)
    if isinstance(entry, IntRange):
        low, high = entry.int
        return type(value) is int and low <= value <= high and (value - low) % entry.step == 0
    return type(value) in (int, float) and entry.float[0] <= value <= entry.float[1]


def lookup(tree: Mapping[str, Any], key: str, missing: Any = None) -> Any:
    """The value of a dotted key in nested mappings."""
    value: Any = tree
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return missing
        value = value[name]
    return value


def _graph(space: Mapping[str, Distribution]) -> dict[str, set[str]]:
    return {key: depends_on(entry, space) for key, entry in space.items()}


def depends_on(entry: Distribution, space: Mapping[str, Distribution]) -> set[str]:
    """The keys of the space that decide the values named in ``when``: themselves, and kinds above them."""
    return {other for name in entry.when or {} for other in (name, *deciders(name)) if other in space}


def deciders(key: str) -> list[str]:
    """Keys that would start a section above ``key`` afresh."""
    parts = key.split(".")
    above = [".".join(parts[:i]) for i in range(1, len(parts))]
    return [f"{prefix}.{name}" for prefix in above for name in _STARTERS]


def _holds(
    key: str,
    allowed: Any,
    space: Mapping[str, Distribution],
    drawn: Mapping[str, Scalar],
    start: dict[str, Any],
) -> bool:
    if key in drawn:
        return matches(drawn[key], allowed)
    if key in space:
        return False
    value = lookup(overlay(start, drawn), key, _MISSING)
    return value is not _MISSING and matches(value, allowed)


def _outer_and_kinds_first(key: str) -> tuple[int, bool]:
    parts = key.split(".")
    return len(parts), parts[-1] not in _STARTERS


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *names, last = key.split(".")
    if key == SWITCH and value is None:
        *names, last = SPARSITY.split(".")
    here = tree
    for name in names:
        if not isinstance(here.get(name), dict):
            here[name] = {}
        here = here[name]
    if last == "kind" and here.get("kind") != value:
        here.clear()
        model = of_kind(section(TrialSpec, ".".join(names)), value)
        here.update(defaults(model) if model is not None else {})
    here[last] = _copy(value)


def _copy(value: Any) -> Any:
    """Mappings are copied, for they are changed in place here; lists and scalars never are."""
    return {k: _copy(v) for k, v in value.items()} if isinstance(value, dict) else value


def _no_strength_without_penalty(params: Mapping[str, Any]) -> None:
    if SWITCH in params and params[SWITCH] is None:
        others = [k for k in params if k.startswith(f"{SPARSITY}.") and k != SWITCH]
        if others:
            raise ValueError(f"{others[0]} is given although {SWITCH} is null (no sparsity)")


def _with_views_of_new_source(tree: dict[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    old = lookup(tree, "data.kind")
    new = params.get("data.kind", lookup(params, "data.kind", old))
    if new != old and new in PRESET_OF_SOURCE and tree.get("views") == _preset_views(old):
        tree["views"] = _preset_views(new)
    return tree


def _preset_views(source: Any) -> dict[str, Any] | None:
    preset = PRESET_OF_SOURCE.get(str(source))
    return None if preset is None else ViewSpec.model_validate(VIEW_PRESETS[preset]).as_dict()
