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


def test_more_arms_than_there_is_memory_for_are_counted_and_not_made() -> None:
    factors = {f"f{i}": {"off": {}, "on": {f"k{i}": 1}} for i in range(40)}
    with pytest.raises(ValueError, match="at most 64 arms, found 1,099,511,627,776"):
        made("full", factors)
    with pytest.raises(ValueError, match="at most 64 arms, found 549,755,813,888"):
        made("half", factors)
    assert len(made("add-one-in", factors).settings) == 41


@pytest.mark.parametrize(("old", "new", "words"), [
    ("trials: 8", "trials: 0", "search.trials"),
    ("lr: 1e-1, epochs: 8", "lr: 1e-1, epochs: 8, momentun: 1.0", "did you mean 'momentum'?"),
], ids=lambda text: text[:20])  # fmt: skip
def test_a_mistake_elsewhere_does_not_make_the_space_wrong(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    """Whether a key of the space has a meaning is told by the arms, not by the base."""
    (found,) = mistakes(tmp_path, ARMS.replace(old, new, 1))
    assert words in found


def test_mistakes_of_arms_and_of_the_space_are_told_together(tmp_path: Path) -> None:
    text = ARMS.replace("mlp: {}", "mlp: {head.dept: 3}").replace("optim.lr: {f", "optim.lrr: {f")
    found = mistakes(tmp_path, text)
    for name in ("head.depth", "optim.lr"):
        assert any(f"did you mean {name!r}" in line for line in found)
    assert not any(line.startswith("1:") or "not a key of" in line or "never holds" in line for line in found)


NOTHING_LOST = """\
name: arms
question: Does the head matter?
base:
  data: {kind: scattered-digits}
  head: {kind: mlp, depth: 2}
  optim: {kind: sgd, lr: 1e-1, epochs: 8}
arms: {baseline: a, each: {a: {A}, b: {}}}
space: {K: {V, role: nuisance}}
search: {trials: 8}
"""


@pytest.mark.parametrize(("arm", "key", "values", "lost"), [
    ("head.depth: 3", "head.kind", "choice: [mlp, directclr]", "head.depth"),
    ("head: {kind: linear}", "head.kind", "choice: [mlp, linear]", "head.kind"),
    ("loss.margin.angular: 0.2", "loss.kind", "choice: [infonce, spectral]", "loss.margin.angular"),
    ("head.sparsity: {penalty: l1, weight: 0.1}", "head.sparsity.shrink", "float: [0.1, 1]",
     "head.sparsity.weight"),
    ("head.sparsity: {penalty: l1, weight: 0.1}", "head.sparsity.penalty", "choice: [null, l1]",
     "head.sparsity.weight"),
    ("head.sparsity: null", "head.sparsity.shrink", "float: [0.1, 1]", "head.sparsity"),
    ("head.sparsity: null", "head.sparsity.shrink", "float: [0.1, 1], when: {head.kind: mlp}",
     "head.sparsity"),
])  # fmt: skip
def test_a_space_that_takes_back_what_an_arm_sets_is_refused(
    tmp_path: Path, arm: str, key: str, values: str, lost: str
) -> None:
    """Otherwise arms would be compared that are the same trial under two names."""
    text = NOTHING_LOST.replace("{A}", f"{{{arm}}}").replace("K", key).replace("V", values)
    found = mistakes(tmp_path, text)
    assert any(line.startswith("8:") and f"would undo {lost}, which the arm a sets" in line for line in found)


def test_what_an_arm_gives_may_be_where_its_search_starts(tmp_path: Path) -> None:
    arm = "head.sparsity: {penalty: l1, shrink: 0.1}"
    text = NOTHING_LOST.replace("{A}", f"{{{arm}}}").replace("K", "head.sparsity.shrink")
    load(tmp_path, text.replace("V", "float: [0.1, 1], when: {head.sparsity.penalty: l1}"))


def test_an_optimiser_of_another_kind_brings_epochs_of_its_own(tmp_path: Path) -> None:
    """Its section starts from that kind's defaults, whose epochs are not those of the base."""
    found = mistakes(tmp_path, ARMS.replace("mlp: {}", "mlp: {optim.kind: adamw, optim.lr: 1e-3}"))
    assert any("the arm mlp has epochs of its own" in line for line in found)


def test_a_search_that_does_not_suit_one_arm_names_it(tmp_path: Path) -> None:
    points = "  trials: 8\n  points: [{head.subvector: 8}]\n"
    found = mistakes(tmp_path, ARMS.replace("  trials: 8\n", points))
    assert len(found) == 2
    assert any("in the arm mlp: is not drawn at this point" in line for line in found)
    assert any("in the arm sparse: is not drawn at this point" in line for line in found)


def test_the_last_seed_of_confirmation_is_a_seed(tmp_path: Path) -> None:
    load(tmp_path, ARMS.replace("confirm: {", "confirm: {first_seed: 2147483640, "))
    (found,) = mistakes(tmp_path, ARMS.replace("confirm: {", "confirm: {first_seed: 2147483641, "))
    assert "the last seed would be 2147483648" in found


def test_a_level_or_factor_called_kind_keeps_its_place_on_record() -> None:
    """Which level is first decides which arm is the baseline."""
    arms = made("full", {"depth": FACTORS["depth"], "kind": {"usual": {}, "kind": {"head.norm": "none"}}})
    assert list(ArmsSpec.model_validate(arms.as_dict()).settings) == list(arms.settings)
