"""Points of a space and the trials that come of them."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ablate.spec import TrialSpec
from ablate.spec.draw import apply, draw, order
from ablate.spec.space import Choice, Distribution, FloatRange, IntRange, Scalar

BASE = TrialSpec.model_validate(
    {
        "data": {"kind": "scattered-digits"},
        "head": {"kind": "mlp", "hidden": 32, "sparsity": {"penalty": "l1", "weight": 0.5}},
        "optim": {"kind": "sgd"},
    }
)
SPACE = {
    "head.sparsity.shrink": {"float": [0.1, 1], "when": {"head.sparsity.penalty": ["l1", "l21"]}},
    "head.depth": {"int": [1, 3], "when": {"head.kind": "mlp"}},
    "head.sparsity.penalty": {"choice": [None, "l1", "l21"], "when": {"head.kind": ["mlp", "linear"]}},
    "head.kind": {"choice": ["mlp", "linear", "directclr"]},
    "head.subvector": {"int": [4, 64], "when": {"head.kind": "directclr"}},
    "loss.temperature": {"float": [0.1, 1.0], "when": {"head.norm": "batch"}},
    "optim.lr": {"float": [0.01, 1], "log": True},
}


def space(raw: dict[str, Any]) -> dict[str, Distribution]:
    return TypeAdapter(dict[str, Distribution]).validate_python(raw)


def suggest(seed: int) -> Any:
    generator = random.Random(seed)

    def one(_key: str, entry: Distribution) -> Scalar:
        match entry:
            case Choice(choice=values):
                return generator.choice(values)
            case IntRange(int=(low, high)):
                return generator.randint(low, high)
            case FloatRange(float=(low, high)):
                return generator.uniform(low, high)

    return one


def test_keys_come_after_what_their_conditions_depend_on_and_else_as_written() -> None:
    assert order(space(SPACE)) == [
        "head.kind",
        "head.depth",
        "head.sparsity.penalty",
        "head.sparsity.shrink",
        "head.subvector",
        "loss.temperature",
        "optim.lr",
    ]


def test_a_cycle_is_named() -> None:
    entries = {
        "head.depth": {"int": [1, 2], "when": {"head.out": 8}},
        "head.out": {"choice": [8, 16], "when": {"head.depth": 1}},
    }
    with pytest.raises(ValueError, match=r"head\.(depth|out) -> head\.(out|depth) -> head\.(depth|out)"):
        order(space(entries))


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_every_point_is_a_trial_that_shows_what_was_drawn(seed: int) -> None:
    params = draw(space(SPACE), suggest(seed), BASE)
    trial = apply(BASE, params)
    kind = params["head.kind"]
    assert trial.head.kind == kind
    assert ("head.depth" in params) == (kind == "mlp")
    assert ("head.subvector" in params) == (kind == "directclr")
    sparse = params.get("head.sparsity.penalty") is not None
    assert ("head.sparsity.shrink" in params) == sparse
    head = trial.head.as_dict()
    assert (head.get("sparsity") is not None) == sparse
    if sparse:
        assert head["sparsity"]["shrink"] == params["head.sparsity.shrink"]
    assert ("loss.temperature" in params) == (kind == "mlp")  # head.norm: mlp's; other kinds have none
    assert trial.optim.lr == params["optim.lr"]


def test_the_same_draws_give_the_same_trial_whatever_else_is_drawn() -> None:
    assert apply(BASE, {}) == BASE
    params = {"optim.lr": 0.5, "head.depth": 3, "head.kind": "mlp"}
    assert apply(BASE, params) == apply(BASE, dict(reversed(params.items())))


def test_another_kind_starts_from_its_own_defaults() -> None:
    assert apply(BASE, {"head.kind": "linear"}).head.as_dict() == {
        "kind": "linear",
        "out": 64,
        "bias": False,
        "sparsity": None,
    }
    same = apply(BASE, {"head.kind": "mlp"})
    assert same == BASE


def test_a_mapping_replaces_a_section_and_keys_below_it_still_apply() -> None:
    head = apply(BASE, {"head.depth": 1, "head": {"kind": "mlp", "out": 8}}).head
    assert head.as_dict() == {
        "kind": "mlp",
        "depth": 1,
        "hidden": 128,
        "out": 8,
        "norm": "batch",
        "norm_last": False,
        "sparsity": None,
    }


def test_strength_given_one_way_clears_the_other() -> None:
    sparsity = apply(BASE, {"head.sparsity.shrink": 0.25}).head.as_dict()["sparsity"]
    assert (sparsity["weight"], sparsity["shrink"]) == (None, 0.25)
    with pytest.raises(ValueError, match="exactly one of weight and shrink"):
        apply(BASE, {"head.sparsity.shrink": 0.25, "head.sparsity.weight": 1.0})


def test_no_penalty_means_no_sparsity_and_then_no_strength() -> None:
    assert apply(BASE, {"head.sparsity.penalty": None}).head.as_dict()["sparsity"] is None
    with pytest.raises(ValueError, match=r"head\.sparsity\.shrink is given although"):
        apply(BASE, {"head.sparsity.penalty": None, "head.sparsity.shrink": 1.0})


def test_a_key_under_an_absent_section_makes_it() -> None:
    plain = apply(BASE, {"head.sparsity": None})
    sparsity = apply(plain, {"head.sparsity.penalty": "l21", "head.sparsity.shrink": 1.0}).head.as_dict()[
        "sparsity"
    ]
    assert (sparsity["penalty"], sparsity["shrink"], sparsity["step"]) == ("l21", 1.0, "proximal")


def test_views_follow_the_source_only_if_they_were_its_preset() -> None:
    assert apply(BASE, {"data": {"kind": "cifar10"}}).views.size == 32
    own = apply(BASE, {"views.size": 20})
    assert apply(own, {"data": {"kind": "cifar10"}}).views.size == 20
    assert apply(own, {"views": {"preset": "photos-96"}, "views.flip": 0.1}).views.size == 96


@pytest.mark.parametrize(
    "params", [{"head.depht": 1}, {"head.depth": 0}, {"nothing": 1}, {"head.kind": "mpl"}]
)
def test_what_is_no_trial_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        apply(BASE, params)
