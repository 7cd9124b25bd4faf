"""Which arms a confirmation has, given the configuration that the search found best."""

from typing import Any

import pytest

from ablate.search.confirm import around_best, ladder, of_searches
from ablate.spec.sweep import ConfirmSpec
from tests.train.synthetic import tiny_trial

CONFIRM = ConfirmSpec(seeds=2, first_seed=1000, references={"deep": {"head.depth": 3}})


@pytest.mark.parametrize(
    "best",
    [
        {},
        {"inner": {"steps": 2, "batch": "fresh"}},
        {"method": {"kind": "byol"}},
        {"method": {"kind": "supervised"}},
    ],
    ids=str,
)
def test_every_best_configuration_has_both_controls(best: dict[str, Any]) -> None:
    possible, impossible = around_best(tiny_trial(**best), CONFIRM)
    assert [arm for arm, _ in possible] == ["best", "deep", "pixels", "untrained"]
    assert not impossible
    assert possible["pixels", 0].encoder.kind == "pixels"
    assert possible["untrained", 0].optim.epochs == 0


def test_a_reference_that_has_no_meaning_is_left_out_with_the_reason() -> None:
    possible, impossible = around_best(tiny_trial(head={"kind": "directclr", "subvector": 4}), CONFIRM)
    assert [arm for arm, _ in possible] == ["best", "pixels", "untrained"]
    assert "depth" in impossible["deep"]


def test_every_replicate_has_seeds_of_its_own_and_each_seed_goes_to_all_before_the_next() -> None:
    plan = ConfirmSpec(seeds=2, first_seed=1000, controls=("pixels",))
    chosen = {(arm, r): tiny_trial() for r in range(2) for arm in ("a", "b")}
    possible, _ = of_searches(chosen, "a", plan)
    assert [tuple(step) for step in ladder(possible, plan)] == [
        ("a", 0, 1000), ("b", 0, 1000), ("pixels", 0, 1000), ("a", 1, 1002), ("b", 1, 1002),
        ("a", 0, 1001), ("b", 0, 1001), ("pixels", 0, 1001), ("a", 1, 1003), ("b", 1, 1003),
    ]  # fmt: skip
