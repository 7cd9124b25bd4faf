"""The change to make: exactly what is printed loads beside the sweep's file, and what cannot be is said."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ablate.report.analysis.boundaries import boundaries
from ablate.report.analysis.dead import relations
from ablate.report.analysis.patch import Change, Patch, flow, patch_of, why_not
from ablate.report.analysis.pools import Searched, read_search
from ablate.spec import load_sweep
from ablate.spec.sweep import SweepSpec
from tests.report.analysis.made_search import drawn, made_events, sweep_of

LR = {"optim.lr": {"float": [0.1, 1.0], "log": True}}
BRANCHES: dict[str, Any] = {
    "head.kind": {"choice": ["mlp", "directclr"]},
    "head.depth": {"int": [1, 3], "when": {"head.kind": "mlp"}},
    "head.subvector": {"int": [4, 20], "when": {"head.kind": "directclr"}},
    **LR,
}


def patched(score: Any, count: int = 60, **sweep: Any) -> tuple[Searched, Patch]:
    spec = sweep_of(**{"space": LR, **sweep})
    trials = [made for arm in spec.bases for made in drawn(spec, score, count, arm=arm)]
    searched = read_search(made_events(spec, trials))
    return searched, patch_of(searched, boundaries(searched), relations(searched))


def loaded(sweep: SweepSpec, patch: Patch, folder: Path) -> SweepSpec:
    """The patch, exactly as printed, beside the sweep's file."""
    (folder / f"{sweep.name}.yaml").write_text(json.dumps(sweep.as_dict()))
    (folder / "patch.yaml").write_text(patch.text)
    return load_sweep(folder / "patch.yaml")


def test_a_pressed_end_is_moved_out_in_a_file_that_loads(tmp_path: Path) -> None:
    searched, patch = patched(lambda p: p["optim.lr"])
    assert [c.line for c in patch.changes] == ["optim.lr: {float: [0.1, 3.2], log: true}"]
    lines = patch.text.splitlines()
    assert lines[:3] == ["extends: s.yaml", "name: s-again", "space:"]
    assert lines[3].startswith("  # search: 15 of the best 15 trials in the outer quarter at the high end")
    assert lines[4:] == ["  optim.lr: {float: [0.1, 3.2], log: true}"]
    again = loaded(searched.sweep, patch, tmp_path)
    assert again.name == "s-again"
    assert again.space["optim.lr"].float == (0.1, 3.2)  # type: ignore[union-attr]
    same = ("question", "base", "search", "confirm", "resources", "tracking")
    assert all(getattr(again, name) == getattr(searched.sweep, name) for name in same)


def test_nothing_pressed_and_nothing_dead_changes_nothing() -> None:
    _, patch = patched(lambda p: -abs(math.log10(p["optim.lr"]) + 0.5))
    assert patch == Patch((), (), "")


def test_an_end_at_the_limit_of_its_key_is_left_with_the_reason() -> None:
    _, patch = patched(lambda p: p["loss.temperature"], space={"loss.temperature": {"float": [1.0, 10.0]}})
    assert patch.text == ""
    assert patch.refused[0].startswith("loss.temperature: search: 15 of the best 15")
    assert patch.refused[0].endswith("but loss.temperature may not go further")


def test_conditions_and_roles_stay_and_a_range_goes_as_far_as_the_whole_trial_allows(
    tmp_path: Path,
) -> None:
    """The encoder has 64 features: a subvector of 83 is refused by the trial, not by its own field."""
    space = {**BRANCHES, "head.subvector": {**BRANCHES["head.subvector"], "int": [4, 57], "role": "nuisance"}}
    searched, patch = patched(lambda p: p.get("head.subvector", 0), count=120, space=space)
    width = searched.sweep.base.width
    assert width == 64
    [change] = [c for c in patch.changes if c.key == "head.subvector"]
    assert change.line == ("head.subvector: {int: [4, 64], when: {head.kind: directclr}, role: nuisance}")
    entry = loaded(searched.sweep, patch, tmp_path).space["head.subvector"]
    assert (entry.when, entry.role) == ({"head.kind": "directclr"}, "nuisance")


def test_a_range_that_can_only_be_refused_says_why() -> None:
    space = {**BRANCHES, "head.subvector": {"int": [4, 64], "when": {"head.kind": "directclr"}}}
    _, patch = patched(lambda p: p.get("head.subvector", 0), count=120, space=space)
    [refused] = [line for line in patch.refused if line.startswith("head.subvector")]
    assert "a wider range is refused" in refused
    assert "exceeds the encoder's width (64)" in refused


def test_a_dead_parameter_is_fixed_to_what_the_best_trial_has(tmp_path: Path) -> None:
    space = {**LR, "loss.temperature": {"float": [0.05, 1.0]}, "head.norm": {"choice": ["none", "batch"]}}
    rng = np.random.default_rng(0)
    searched, patch = patched(
        lambda p: -abs(math.log10(p["optim.lr"]) + 0.5) + 0.02 * rng.normal(), count=300, space=space
    )
    best = max(searched.of("search"), key=lambda t: t.score or -math.inf)
    temperature = float(f"{best.params['loss.temperature']:.2g}")
    assert {c.key: c.entry for c in patch.changes} == {
        "loss.temperature": {"choice": [temperature]},
        "head.norm": {"choice": [best.params["head.norm"]]},
    }
    again = loaded(searched.sweep, patch, tmp_path)
    assert again.space["loss.temperature"].choice == (temperature,)  # type: ignore[union-attr]
    assert again.space["optim.lr"] == searched.sweep.space["optim.lr"]


def test_what_the_question_is_about_is_never_fixed() -> None:
    space = {**LR, "head.norm": {"choice": ["none", "batch"], "role": "scientific"}}
    _, patch = patched(lambda p: -abs(math.log10(p["optim.lr"]) + 0.5), count=300, space=space)
    assert patch.changes == ()


def test_a_key_that_others_hang_on_is_not_fixed_and_the_reason_is_given() -> None:
    _, patch = patched(lambda p: -abs(math.log10(p["optim.lr"]) + 0.5), count=400, space=BRANCHES)
    [refused] = [line for line in patch.refused if line.startswith("head.kind")]
    assert "fixing it is refused" in refused
    assert "cannot occur" in refused
    assert "head.kind" not in {c.key for c in patch.changes}


def test_a_key_that_is_dead_in_one_arm_only_stays() -> None:
    arms = {"baseline": "a", "each": {"a": {}, "b": {"head.depth": 3}}}
    space = {
        "optim.lr": {"float": [0.1, 1.0], "log": True, "role": "nuisance"},
        "loss.temperature": {"float": [0.05, 1.0], "role": "nuisance"},
    }
    sweep = sweep_of(space=space, arms=arms)

    def of_lr(params: Mapping[str, Any]) -> float:
        return -abs(math.log10(params["optim.lr"]) + 0.5)

    def of_both(params: Mapping[str, Any]) -> float:
        return of_lr(params) - 2 * abs(params["loss.temperature"] - 0.5)

    for in_b, fixed in ((of_lr, {"loss.temperature"}), (of_both, set())):
        trials = drawn(sweep, of_lr, 300, arm="a") + drawn(sweep, in_b, 300, arm="b", seed=1)
        searched = read_search(made_events(sweep, trials))
        patch = patch_of(searched, boundaries(searched), relations(searched))
        assert {c.key for c in patch.changes} == fixed


def test_why_not_names_the_mistake_and_nothing_of_ours() -> None:
    sweep = sweep_of(space=LR)
    assert why_not(sweep, [Change("optim.lr", {"float": [0.1, 2.0]}, "")]) == ""
    why = why_not(sweep, [Change("optim.lr", {"float": [-1.0, 2.0]}, "")])
    assert "above 0" in why
    assert "patch.yaml" not in why


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=12)
    | st.sampled_from(["null", "yes", "True", "mlp", "l21-out", "1e-3", "a: b", "#x"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["head.kind", "float", "when"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(PLAIN)
def test_flow_writes_yaml_that_reads_back(value: Any) -> None:
    read = YAML(typ="safe", pure=True).load(f"x: {flow(value)}\n")["x"]
    assert read == value
    assert isinstance(read, bool) == isinstance(value, bool)


@pytest.mark.parametrize("value", [1e-6, 1e-10, 2.5e7, 1e22, 0.1])
def test_numbers_stay_numbers(value: float) -> None:
    assert YAML(typ="safe", pure=True).load(f"x: {flow([value])}\n")["x"] == [value]
