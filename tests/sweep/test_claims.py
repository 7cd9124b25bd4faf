"""Known answers, on real training: a head that throws away what the probe needs; arms equal but in name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ablate.ledger import Ledger
from ablate.report.claims import Claims, claims_of
from ablate.report.results import write_results
from ablate.spec.sweep import SweepSpec
from ablate.sweep.run import run_sweep
from tests.report.recalculated import recalculated

KEEP: dict[str, Any] = {"head": {"kind": "none"}}
DISCARD: dict[str, Any] = {"head": {"kind": "directclr", "subvector": 2}}


def tiny(each: dict[str, Any], **confirm: Any) -> SweepSpec:
    return SweepSpec.model_validate(
        {
            "name": "known",
            "question": "Is the answer that we know found?",
            "base": {
                "data": {"kind": "digits"},
                "encoder": {"kind": "tiny-resnet", "width": 8, "blocks": [1, 1]},
                "head": {"kind": "none"},
                "optim": {"kind": "sgd", "lr": 0.1, "epochs": 1, "batch": 128, "warmup_epochs": 0.0},
                "measure": {"every": 1},
            },
            "arms": {"baseline": next(iter(each)), "each": each},
            "space": {},
            "search": {"trials": 1, "objective": {"metric": "probe.z.val", "mode": "max"}},
            "confirm": {"controls": (), **confirm},
        }
    )


def judged(sweep: SweepSpec, runs: Path) -> tuple[Path, Claims]:
    folder = run_sweep(sweep, runs=runs, backend="inline")
    found = claims_of(folder, Ledger.read(folder / "ledger.jsonl"))
    assert found is not None
    return folder, found


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Claims]:
    return judged(tiny({"discard": DISCARD, "keep": KEEP}, seeds=6), tmp_path_factory.mktemp("runs"))


def test_the_head_that_keeps_what_the_probe_needs_is_better(known: tuple[Path, Claims]) -> None:
    (verdict,) = known[1].verdicts
    assert (verdict.word, verdict.comparison.arm, verdict.comparison.against) == ("better", "keep", "discard")
    assert verdict.mean > 0.1


def test_the_verdict_follows_from_the_files_alone(known: tuple[Path, Claims]) -> None:
    folder, claims = known
    write_results(folder)
    (verdict,) = claims.verdicts
    found = recalculated(folder, "probe.z.test", [("keep", "discard")], 6, 0.05, None)["keep - discard"]
    assert found["word"] == verdict.word
    assert found["mean"] == pytest.approx(verdict.mean)
    assert found["p"] == pytest.approx(verdict.p)


def test_arms_that_differ_in_name_only_get_equal_scores_and_no_verdict(tmp_path: Path) -> None:
    _, claims = judged(tiny({"one": KEEP, "other": KEEP}, seeds=6, margin=0.01), tmp_path)
    (verdict,) = claims.verdicts
    assert set(verdict.comparison.differences) == {0.0}
    assert verdict.word not in ("better", "worse")
