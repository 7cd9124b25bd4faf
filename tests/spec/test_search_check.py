"""Searches that cannot be carried out as asked are refused, at their place and with what to do instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.search.synthetic import BRANCHES, LR, sweep
from tests.spec.files import GOOD, load, mistakes

NO_STOPS = GOOD.replace("  scheduler: {kind: asha, rungs: [2, 4]}\n", "")
LOSS: dict[str, Any] = {"metric": "loss"}
PATIENT: dict[str, Any] = {"kind": "asha", "rungs": [1], "variant": "patient"}
TWO: dict[str, Any] = {**LR, "loss.temperature": {"float": [0.05, 1.0]}}


def one(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(
    ("lines", "place", "words"),
    [
        ("sampler: {kind: exhaustive}", "11:3", "space.head.sparsity.shrink: a real range has no end"),
        ("sampler: {kind: cma-es}", "16:3", "needs two keys that are ranges and always drawn, found 1"),
        ("tradeoffs: [{metric: probe.h.val}]", "16:14", "each objective once"),
        (
            "tradeoffs: [{metric: loss, mode: min}]\n  converged: {error: 0.01}",
            "17:3",
            "search.converged: is told of one objective",
        ),
        (
            "objective: {metric: rank.h.lidar}",
            "14:1",
            "rank.h.lidar is measured only with base.measure.lidar",
        ),
        (
            "points: [{optim.lr: 0.5}, {optim.lr: 7}]",
            "16:40",
            "points[1].optim.lr: found 7, outside of float",
        ),
        ("points: [{optim.rl: 0.5}]", "16:23", "not a key of the space; did you mean 'optim.lr'?"),
        ("points: [{head.depth: 2}]", "16:25", "drawn only under a condition; give head.kind too"),
        (
            "points: [{head.kind: directclr, head.depth: 2}]",
            "16:47",
            "is not drawn at this point, where when does not hold: head.kind: 'mlp'",
        ),
        ("points: [{head.kind: directclr, head.subvector: 4, optim.lr: 30}]", "16:64", "outside of float"),
    ],
)
def test_each_is_one_mistake_at_its_place(tmp_path: Path, lines: str, place: str, words: str) -> None:
    found = one(mistakes(tmp_path, NO_STOPS.replace("  trials: 24\n", f"  trials: 24\n  {lines}\n")))
    assert found.startswith(f"{place}: ")
    assert words in found


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tradeoffs": [LOSS], "sampler": {"kind": "cma-es"}, "space": TWO}, "takes one objective"),
        ({"tradeoffs": [LOSS], "rungs": (1,)}, "asha goes by one objective"),
        (
            {"constraints": [{**LOSS, "at_most": 1.0}], "sampler": {"kind": "cma-es"}, "space": TWO},
            "takes no constraints",
        ),
        ({"scheduler": PATIENT, "sampler": {"kind": "gp"}}, "gp learns from completed trials"),
        ({"scheduler": PATIENT, "converged": {"error": 0.1}}, "search.converged: goes by completed trials"),
        ({"points": [{}] * 6, "trials": 5}, "6 points but only 5 trials"),
        (
            {"sampler": {"kind": "grid", "steps": 400}, "space": TWO},
            "more than 100,000 combinations",
        ),
        (
            {
                "space": {"head.depth": BRANCHES["head.depth"], "head.kind": {"choice": ["mlp"]}},
                "converged": {"error": 0.1},
            },
            "needs a key that every trial draws",
        ),
    ],
)  # fmt: skip
def test_made_in_python_they_are_refused_too(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        sweep(**options)


def test_a_point_that_is_no_trial_is_refused() -> None:
    space = {"head.kind": {"choice": ["directclr"]}, "head.subvector": {"choice": [8, 8000]}}
    with pytest.raises(ValidationError, match=r"search.points.0: is no trial: head.subvector: 8000 exceeds"):
        sweep(space=space, points=[{"head.kind": "directclr", "head.subvector": 8000}])


def test_good_ones_are_taken(tmp_path: Path) -> None:
    points = "points: [{head.kind: mlp, head.depth: 2, head.sparsity.penalty: null}, {optim.lr: 1}]"
    lines = f"{points}\n  tradeoffs: [{{metric: loss, mode: min}}]\n  sampler: {{kind: gp}}"
    assert (
        len(load(tmp_path, NO_STOPS.replace("  trials: 24\n", f"  trials: 24\n  {lines}\n")).search.points)
        == 2
    )
    sweep(space=TWO, sampler={"kind": "cma-es"}, converged={"error": 0.1})
    sweep(scheduler=PATIENT, sampler={"kind": "gp"}, warm_start=["earlier"])
    sweep(space=BRANCHES, sampler={"kind": "grid", "steps": 9})
