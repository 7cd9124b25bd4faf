"""Which arms a confirmation has, given the configuration that the search found best."""

from typing import Any

import pytest

from ablate.search.confirm import arms
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
    possible, impossible = arms(tiny_trial(**best), CONFIRM)
    assert list(possible) == ["best", "deep", "pixels", "untrained"]
    assert not impossible
    assert possible["pixels"].encoder.kind == "pixels"
    assert possible["untrained"].optim.epochs == 0


def test_a_reference_that_has_no_meaning_is_left_out_with_the_reason() -> None:
    possible, impossible = arms(tiny_trial(head={"kind": "directclr", "subvector": 4}), CONFIRM)
    assert list(possible) == ["best", "pixels", "untrained"]
    assert "depth" in impossible["deep"]
