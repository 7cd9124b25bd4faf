"""Arms in a sweep file: what is made of designs, and what is refused at which place."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.spec.arms import ArmsSpec
from ablate.spec.draw import lookup
from tests.spec.files import load, mistakes

ARMS = """\
name: arms
question: Does the head matter?
base:
  data: {kind: scattered-digits}
  head: {kind: mlp, depth: 2}
  optim: {kind: sgd, lr: 1e-1, epochs: 8}
arms:
  baseline: mlp
  each:
    mlp: {}
    sparse: {head.sparsity: {penalty: l21, shrink: 0.3}}
    directclr: {head: {kind: directclr, subvector: 12}}
space:
  head.sparsity.shrink: {float: [0.01, 10], log: true, when: {head.sparsity.penalty: l21}, role: nuisance}
  head.subvector: {int: [4, 64], when: {head.kind: directclr}, role: nuisance}
  optim.lr: {float: [0.03, 1], log: true, role: nuisance}
search:
  trials: 8
  scheduler: {kind: asha, rungs: [2, 4]}
confirm: {seeds: 8, looks: [6, 8], margin: 0.02}
"""
FACTORS: dict[str, Any] = {
    "depth": {"two": {}, "three": {"head.depth": 3}},
    "margin": {"off": {}, "on": {"loss.margin.angular": 0.2}},
    "norm": {"batch": {}, "none": {"head.norm": "none"}},
}


def test_each_arm_is_the_base_with_its_changes_the_baseline_first(tmp_path: Path) -> None:
    sweep = load(tmp_path, ARMS.replace("baseline: mlp", "baseline: sparse"))
    assert list(sweep.bases) == ["sparse", "mlp", "directclr"]
    trees = {arm: trial.as_dict() for arm, trial in sweep.bases.items()}
    assert lookup(trees["sparse"], "head.sparsity.penalty") == "l21"
    assert lookup(trees["mlp"], "head.sparsity") is None
    assert lookup(trees["directclr"], "head.subvector") == 12


def test_a_sweep_without_arms_has_one_search(tmp_path: Path) -> None:
    sweep = load(tmp_path)
    assert sweep.bases == {"search": sweep.base}
    assert sweep.replicates == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("baseline: mlp", "baseline: mpl", "must name one of mlp, sparse, directclr, found 'mpl'"),
        ("  baseline: mlp\n", "", "must name one of mlp, sparse, directclr, found None"),
        ("penalty: l21, shrink: 0.3}}", "penalty: l22, shrink: 0.3}}", "each.sparse.head.sparsity.penalty"),
        ("mlp: {}", "mlp: {head.dept: 3}", "did you mean 'head.depth'?"),
        ("mlp: {}", "mlp: {seed: 3}", "every arm gets the same seeds"),
        ("mlp: {}", "mlp: {data: {kind: digits}}", "arms are compared on the same images"),
        ("mlp: {}", "mlp: {optim.epochs: 4}", "the arm mlp has epochs of its own: use none"),
        ("mlp: {}", "mlp: {optim.lr: 0.2}", "is set by the arm mlp and searched as well"),
        ("    mlp: {}\n", "    mlp: {}\n    best: {}\n", "the names best, search, pixels, untrained"),
        ("log: true, role: nuisance}\nsearch", "log: true}\nsearch", "say role: nuisance, or set optim.lr"),
        ("log: true, role: nuisance}\nsearch", "log: true, role: scientific}\nsearch", "found role"),
        (", when: {head.kind: directclr}, role", ", role", "in the arm mlp: not every point"),
        ("seeds: 8, looks: [6, 8]", "seeds: 9, looks: [6, 8]", "must grow from 2 or more to confirm.seeds"),
        ("looks: [6, 8]", "looks: [6, 6, 8]", "must grow from 2 or more"),
        ("margin: 0.02}", "margin: 0.02, references: {a: {}}}", "with arms these are arms themselves"),
        ("  trials: 8\n", "  trials: 8\n  converged: {error: 0.01}\n", "unequal budgets"),
        ("  baseline", "  replicates: 3\n  baseline", "with replicates the comparisons are looked at once"),
        ("confirm: {", "confirm: {first_seed: 0, ", "seeds must be fresh"),
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_a_mistake_is_told_at_its_place(tmp_path: Path, old: str, new: str, words: str) -> None:
    text = ARMS.replace(old, new, 1)
    assert text != ARMS
    found = mistakes(tmp_path, text)
    assert any(words in line for line in found), found
    assert all(line[0].isdigit() for line in found)


def test_a_condition_that_holds_in_one_arm_only_is_no_mistake_and_in_none_is(tmp_path: Path) -> None:
    load(tmp_path, ARMS)
    (found,) = mistakes(tmp_path, ARMS.replace("when: {head.kind: directclr}", "when: {head.kind: linear}"))
    assert "never holds" in found


def test_the_space_may_be_empty_with_arms_and_only_then(tmp_path: Path) -> None:
    head, _, rest = ARMS.partition("space:")
    nothing = f"{head}space: {{}}\nsearch{rest.partition('search')[2]}"
    assert load(tmp_path, nothing).space == {}
    before, _, after = nothing.partition("arms:")
    found = mistakes(tmp_path, before + "space" + after.partition("space")[2])
    assert any("nothing to search, and no arms to compare" in line for line in found)


def test_an_arm_of_an_upper_file_replaces_the_one_below(tmp_path: Path) -> None:
    load(tmp_path, ARMS)
    upper = "extends: sweep.yaml\narms: {each: {directclr: {head: {kind: directclr, subvector: 32}}}}\n"
    (tmp_path / "upper.yaml").write_text(upper)
    from ablate.spec import load_sweep

    sweep = load_sweep(tmp_path / "upper.yaml")
    assert list(sweep.bases) == ["mlp", "sparse", "directclr"]
    assert sweep.bases["directclr"].head.subvector == 32  # type: ignore[union-attr]


def made(design: str, factors: dict[str, Any] = FACTORS) -> ArmsSpec:
    return ArmsSpec.model_validate({"factors": factors, "design": design})


def test_a_full_factorial_has_every_combination_and_the_first_levels_as_its_baseline() -> None:
    arms = made("full")
    assert len(arms.settings) == 8
    assert arms.reference == "depth=two,margin=off,norm=batch"
    assert arms.settings[arms.reference] == {}
    both = arms.settings["depth=three,margin=on,norm=none"]
    assert both == {"head.depth": 3, "loss.margin.angular": 0.2, "head.norm": "none"}


@given(st.integers(3, 5))
def test_a_half_fraction_is_balanced_and_its_main_effects_are_orthogonal(count: int) -> None:
    levels = made("half", {f"f{i}": {"off": {}, "on": {f"k{i}": 1}} for i in range(count)}).levels()
    assert len(levels) == 2 ** (count - 1)
    signs = [[1 if level == "on" else -1 for level in arm.values()] for arm in levels.values()]
    columns = list(zip(*signs, strict=True))
    assert all(sum(column) == 0 for column in columns)
    assert all(sum(a * b for a, b in zip(x, y, strict=True)) == 0 for x, y in combinations(columns, 2))


def test_leave_one_out_and_add_one_in() -> None:
    out, into = made("leave-one-out"), made("add-one-in")
    assert list(out.settings) == ["all", "without-depth", "without-margin", "without-norm"]
    assert out.settings["without-margin"] == {"head.depth": 3, "head.norm": "none"}
    assert list(into.settings) == ["none", "only-depth", "only-margin", "only-norm"]
    assert into.settings["only-margin"] == {"loss.margin.angular": 0.2}


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        ({}, "give `each` with a `baseline`, or `factors` with a `design`"),
        ({"each": {"a": {}}, "baseline": "a"}, "one arm is nothing to compare"),
        ({"factors": FACTORS}, "must say how arms are made of factors"),
        ({"factors": FACTORS, "design": "full", "baseline": "x"}, "is given by the design"),
        ({"factors": {"a": {"off": {}}}, "design": "full"}, "two levels or more"),
        ({"factors": {"a": {"x": {}, "y": {}, "z": {}}, "b": FACTORS["norm"], "c": FACTORS["margin"]},
          "design": "half"}, "takes two levels, found 3"),
        ({"factors": {"a": FACTORS["norm"], "b": FACTORS["margin"]}, "design": "half"}, "3 factors or more"),
        ({"factors": {"a": FACTORS["norm"], "b": {"off": {}, "on": {"head": {"kind": "none"}}}},
          "design": "full"}, "they could not be combined"),
    ],
    ids=lambda x: str(x)[:30],
)  # fmt: skip
def test_arms_that_make_no_design_are_refused(arms: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ArmsSpec.model_validate(arms)
