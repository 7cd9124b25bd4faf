"""Spaces as finite sets: what a share of the way means, and that combinations are those a draw can give."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ablate.spec.draw import always, contains, draw
from ablate.spec.grid import combinations, levels, value_at
from ablate.spec.space import Distribution
from tests.search.synthetic import BRANCHES, sweep

ENTRY: TypeAdapter[Distribution] = TypeAdapter(Distribution)
ENTRIES = [
    {"choice": ["a", "b", None]},
    {"int": [1, 3]},
    {"int": [4, 64], "step": 7},
    {"int": [1, 1000], "log": True},
    {"float": [0.01, 1.0], "log": True},
    {"float": [-1.0, 2.0]},
    {"float": [0.5, 0.5]},
]


def entry(raw: dict[str, Any]) -> Distribution:
    return ENTRY.validate_python(raw)


@pytest.mark.parametrize("raw", ENTRIES, ids=str)
@given(share=st.floats(0, 1))
def test_any_share_of_the_way_is_a_value_and_later_shares_are_later_values(
    raw: dict[str, Any], share: float
) -> None:
    found = value_at(entry(raw), share)
    assert contains(entry(raw), found)
    if not isinstance(found, (str, type(None))):
        assert value_at(entry(raw), 0.0) <= found <= value_at(entry(raw), 1.0)  # type: ignore[operator]


@pytest.mark.parametrize("raw", ENTRIES[:3], ids=str)
def test_equal_shares_give_each_value_equally_often(raw: dict[str, Any]) -> None:
    values = levels(entry(raw), 2)
    found = [value_at(entry(raw), (i + 0.5) / (10 * len(values))) for i in range(10 * len(values))]
    assert [found.count(v) for v in values] == [10] * len(values)


def test_levels_of_a_real_range_go_from_end_to_end() -> None:
    assert levels(entry({"float": [0.01, 1.0], "log": True}), 3) == pytest.approx((0.01, 0.1, 1.0), rel=1e-12)
    assert levels(entry({"float": [0.0, 1.0]}), 5) == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert levels(entry({"float": [0.5, 0.5]}), 5) == (0.5,)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(2, 3))
def test_combinations_are_each_once_and_all_that_can_be_drawn(kinds: int, depths: int, steps: int) -> None:
    space = {
        "head.kind": entry({"choice": ["mlp", "directclr", "linear"][:kinds]}),
        "head.depth": entry({"int": [1, depths], "when": {"head.kind": "mlp"}}),
        "head.subvector": entry({"choice": [4, 8], "when": {"head.kind": "directclr"}}),
        "optim.lr": entry({"float": [0.01, 1.0], "log": True}),
    }
    base = sweep().base
    found = [tuple(sorted(c.items())) for c in combinations(space, steps, base)]
    assert len(set(found)) == len(found) == steps * (depths, depths + 2, depths + 3)[kinds - 1]
    every = {key: levels(e, steps) for key, e in space.items()}
    drawn = {
        tuple(sorted(draw(space, lambda key, _, at=at: at[key], base).items()))
        for at in (dict(zip(every, point, strict=True)) for point in product(*every.values()))
    }
    assert set(found) == drawn


def test_always_drawn_are_keys_whose_condition_nothing_drawn_can_change() -> None:
    space = sweep(space=BRANCHES).space
    assert always(space, sweep().base) == ["head.kind", "optim.lr"]
    fixed = {key: e for key, e in space.items() if key != "head.kind"}  # the base has an mlp
    assert always(fixed, sweep().base) == ["head.depth", "optim.lr"]
