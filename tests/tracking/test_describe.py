"""What runs are called, tagged and described by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ablate.report.figures
from ablate.report.trials import TrialRecord
from ablate.tracking.describe import (
    COLORS,
    NOTE,
    arms_of,
    cut,
    first_tags,
    last_tags,
    listed_keys,
    name_of,
    params_of,
)
from tests.report.made_sweep import ARMS, sweep_spec
from tests.tracking.large import large_spec


def record(**changes: Any) -> TrialRecord:
    values: dict[str, Any] = {
        "trial": "t0007", "stage": "search", "arm": "mlp", "seed": 3, "params": {"optim.lr": 0.5},
        "spec": {"optim": {"lr": 0.5, "epochs": 9}, "head": {"kind": "mlp", "sparsity": None}},
        "spec_hash": "abc", "asked": 1.0, "ended": 2.0,
    }  # fmt: skip
    return TrialRecord(**{**values, **changes})


def test_parameters_are_those_in_which_trials_differ() -> None:
    keys = listed_keys(large_spec().as_dict())
    assert keys[:2] == ("head.depth", "head.sparsity.shrink")
    assert {"head.kind", "head.sparsity.penalty"} <= set(keys), "what arms set"
    assert not [key for key in keys if key.startswith(("data.", "views.", "measure."))]
    assert params_of(record(), keys) == {"optim.lr": "0.5", "head.kind": "mlp", "seed": "3", "arm": "mlp"}


def test_references_and_a_space_without_arms_are_listed_too() -> None:
    assert listed_keys(sweep_spec().as_dict()) == ("head.kind", "head.depth", "head.subvector", "optim.lr")


def test_a_draw_that_is_no_trial_keeps_its_parameters() -> None:
    assert params_of(record(spec={}, spec_hash=None), ("optim.lr", "head.kind")) == {
        "optim.lr": "0.5", "seed": "3", "arm": "mlp",
    }  # fmt: skip


def test_names_say_trial_arm_and_seed() -> None:
    assert name_of(record()) == "t0007 mlp"
    assert (
        name_of(record(arm="search", params={"head.kind": "directclr", "optim.lr": 1})) == "t0007 directclr"
    )
    assert name_of(record(trial="c0001", stage="confirm", seed=1000)) == "c0001 mlp seed 1000"


def test_an_arm_has_one_colour_which_the_report_has_too() -> None:
    sweep = sweep_spec(arms=ARMS).as_dict()
    assert arms_of(sweep) == ("plain", "deep", "pixels")
    colours = [first_tags(record(arm=arm), sweep)["mlflow.runColor"] for arm in arms_of(sweep)]
    assert tuple(colours) == COLORS[:3]
    assert "mlflow.runColor" not in first_tags(record(arm="search"), sweep_spec().as_dict())
    css = (Path(ablate.report.figures.__file__).parent / "figure.css").read_text()
    assert [css.index(color) for color in COLORS] == sorted(css.index(color) for color in COLORS)


def test_descriptions_say_what_numbers_do_not() -> None:
    assert last_tags(record(state="COMPLETE"))[NOTE] == ""
    assert (
        last_tags(record(state="PRUNED", reason="too low at epoch 2"))[NOTE] == "PRUNED: too low at epoch 2."
    )
    assert "the same as t0001" in last_tags(record(state="COMPLETE", duplicate_of="t0001"))[NOTE]
    went_on = last_tags(record(state="COMPLETE", parent="t0002", inherited=4))[NOTE]
    assert went_on == "Went on from the weights of t0002 at epoch 4."
    assert len(last_tags(record(state="FAILED", reason="x" * 9000))["reason"]) == 5000


def test_a_long_description_ends_with_a_whole_line() -> None:
    text = "\n".join(f"| {row} | 0.5 |" for row in range(1000))
    shown = cut(text)
    assert len(shown) < 5100
    assert shown.removesuffix("\n\n...") in text
    assert shown.removesuffix("\n\n...").endswith("| 0.5 |")
    assert cut("short") == "short"
