"""From a YAML file, what it extends and ``--set`` to a checked value, or to every mistake at its place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import ValidationError

from ablate.spec.arms import ArmsSpec
from ablate.spec.base import Spec
from ablate.spec.draw import apply
from ablate.spec.errors import Mistake, SpecError
from ablate.spec.explain import Finding, explain, steps
from ablate.spec.layers import read_layers
from ablate.spec.paths import slots
from ablate.spec.points import check_points
from ablate.spec.scheduler_check import budget_conflicts
from ablate.spec.space_check import check_changes, check_space, check_space_of_arms, valid_entries
from ablate.spec.sweep import SweepSpec, arm_conflicts, conflicts, conflicts_of_searches, impossible_arms
from ablate.spec.theory import TheorySpec
from ablate.spec.trial import TrialSpec
from ablate.spec.yaml_file import Node

S = TypeVar("S", bound=Spec)


def load_sweep(path: FilePath | str, overrides: Sequence[str] = ()) -> SweepSpec:
    """Read a sweep; ``overrides`` are texts such as ``"search.trials=8"``.

    Raises SpecError holding every mistake found.
    """
    tree, mistakes = read_layers(FilePath(path), overrides)
    if "base" not in tree.value and "space" not in tree.value and "optim" in tree.value:
        raise SpecError([Mistake(tree.place, "this is a trial, not a sweep: it has neither base nor space")])
    raw = tree.plain()
    sweep, findings = _read(SweepSpec, raw)
    findings += check_changes(_get(raw, "confirm", "references"), ("confirm", "references"))
    findings += (in_arms := _mistaken_arms(_get(raw, "arms")))
    arms = None if in_arms else _part(raw, "arms")
    if arms is not None:
        findings += check_space_of_arms(raw.get("space"), raw.get("base"), arms.settings)
    else:  # what arms that are wrong make of the base is not known
        findings += check_space(raw.get("space"), None if raw.get("arms") else raw.get("base"))
    findings += _conflicts(raw, arms)
    if not findings and sweep is not None:
        findings += _invalid_points(sweep)
    return _value_or_error(sweep, findings, tree, mistakes)


def load_trial(path: FilePath | str, overrides: Sequence[str] = ()) -> TrialSpec:
    """Read one trial, from YAML or the ``spec.json`` of a finished one; raises SpecError as load_sweep."""
    tree, mistakes = read_layers(FilePath(path), overrides)
    if "base" in tree.value and "space" in tree.value:
        raise SpecError([Mistake(tree.place, "this is a sweep, not a trial: run it with `ablate sweep`")])
    raw = tree.plain()
    trial, findings = _read(TrialSpec, raw)
    return _value_or_error(trial, findings, tree, mistakes)


def load_theory(path: FilePath | str, overrides: Sequence[str] = ()) -> TheorySpec:
    """Read a file of ``ablate theory``; raises SpecError as load_sweep."""
    tree, mistakes = read_layers(FilePath(path), overrides)
    raw = tree.plain()
    theory, findings = _read(TheorySpec, raw)
    return _value_or_error(theory, findings, tree, mistakes)


def _read(model: type[S], raw: Any) -> tuple[S | None, list[Finding]]:
    try:
        return model.model_validate(raw), []
    except ValidationError as error:
        return None, explain(error, model, raw)


def _mistaken_arms(arms: Any) -> list[Finding]:
    found = list(check_changes(_get(arms, "each"), ("arms", "each")))
    factors = _get(arms, "factors")
    for name, levels in factors.items() if isinstance(factors, dict) else ():
        found += check_changes(levels, ("arms", "factors", name))
    return found


def _invalid_points(sweep: SweepSpec) -> list[Finding]:
    """Points of the space that are no trials: around the base, or around each arm."""
    if sweep.arms is None:
        references = sweep.confirm.references if sweep.confirm is not None else {}
        return list(check_points(sweep.base, sweep.space, references))
    found = []
    for arm, base in sweep.bases.items():
        points = check_points(base, sweep.space, {})
        found += [Finding(f.path, f"in the arm {arm}: {f.message}", f.at_key) for f in points]
    return found


def _conflicts(raw: Any, arms: ArmsSpec | None) -> list[Finding]:
    """Contradictions between parts of a sweep, among the parts that are themselves right."""
    part = {key: _part(raw, key) for key in _PARTS}
    seed = part["base.seed"]
    found = conflicts(
        seed if type(seed) is int else None,
        part["base.optim"],
        part["base.measure"],
        valid_entries(raw.get("space")),
        part["search.scheduler"],
        part["confirm"],
        part["resources"],
    )
    space, base = valid_entries(raw.get("space")), part["base"]
    more: list[tuple[str, str]] = []
    if arms is not None or raw.get("arms") is None:
        more += arm_conflicts(arms, base, space, part["search"], part["confirm"])
    bases: dict[str, TrialSpec | None] = {"": base}
    if arms is not None and base is not None:
        more += (impossible := list(impossible_arms(arms, base)))
        bases = {} if impossible else {arm: apply(base, c) for arm, c in arms.settings.items()}
    more += conflicts_of_searches(part["search"], space, bases)
    if part["search"] is not None:
        more += budget_conflicts(part["search"], part["resources"].gpus if part["resources"] else None)
    return [Finding(tuple(steps(at, raw)), message) for at, message in (*found, *more)]


_PARTS = (
    "base", "base.seed", "base.optim", "base.measure", "search", "search.scheduler", "confirm", "resources",
)  # fmt: skip


def _part(raw: Any, key: str) -> Any:
    """The checked value of one part of a sweep; None if it is missing without a default, or wrong."""
    slot = slots(SweepSpec, key)[0]
    value = _get(raw, *key.split("."))
    if value is None:
        return None if slot.field.is_required() else slot.field.get_default(call_default_factory=True)
    try:
        return slot.value(value)
    except ValidationError:
        return None


def _get(raw: Any, *path: str) -> Any:
    for step in path:
        raw = raw.get(step) if isinstance(raw, dict) else None
    return raw


def _value_or_error(value: S | None, findings: list[Finding], tree: Node, mistakes: list[Mistake]) -> S:
    placed = [Mistake(tree.locate(f.path, at_key=f.at_key), str(f)) for f in findings]
    if value is None or placed or mistakes:
        raise SpecError([*mistakes, *placed])
    return value
