"""What early stopping costs: the default sweep with ASHA and without any stopping, once for each search seed.

The sweeps stay in `runs/evidence-asha/`, one folder for each digest of the training code, so that a check cut
short goes on where it was.
"""

from __future__ import annotations

import math
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import kendalltau, t

from ablate.ledger import Ledger
from ablate.spec import load_sweep
from ablate.spec.identity import code_digest, digest
from tests.evidence.checks import SPARSEHEAD, ablate
from tests.evidence.harness import ROOT, Finding, check

SEEDS = range(8)
SCHEDULES = {"none": ["--set", "search.scheduler={kind: none}"], "asha": []}
ALLOWED_MEAN, ALLOWED_BOUND, ALLOWED_SHARE = 0.5, 1.0, 0.40  # points, points, of the epochs


@check("asha")
def early_stopping(_scratch: Path) -> Finding:
    """Each pair differs in the scheduler only; TPE sees what its own sweep saw, so later draws differ too."""
    sweep = load_sweep(ROOT / SPARSEHEAD)
    folder = ROOT / "runs" / "evidence-asha" / digest([code_digest(), sweep.as_dict()])
    pairs = [{name: finished_sweep(folder, name, seed) for name in SCHEDULES} for seed in SEEDS]
    best = [{name: best_value(events) for name, events in pair.items()} for pair in pairs]
    regret = [100 * (b["none"] - b["asha"]) for b in best]
    share = [epochs(pair["asha"]) / epochs(pair["none"]) for pair in pairs]
    bound = mean(regret) + t.ppf(0.95, len(regret) - 1) * stdev(regret) / math.sqrt(len(regret))
    rungs = list(sweep.search.scheduler.rungs)  # type: ignore[union-attr]
    tau = {
        r: mean(rank_correlation(pair["none"], r, sweep.base.optim.epochs) for pair in pairs) for r in rungs
    }
    figures: dict[str, Any] = {
        "seeds": len(regret),
        "regret_points": [round(r, 2) for r in regret],
        "mean_regret_points": round(mean(regret), 2),
        "upper_95_bound_points": round(bound, 2),
        "share_of_epochs": round(mean(share), 3),
        "kendall_tau_to_final": {str(r): round(value, 2) for r, value in tau.items()},
    }
    held = mean(regret) <= ALLOWED_MEAN and bound <= ALLOWED_BOUND and mean(share) <= ALLOWED_SHARE
    return Finding(
        "ASHA's best trial on the default sweep, trained fully, is on average at most 0.5 points of validation "
        "probe below that of a search that stops nothing, upper 95% t bound at most 1 point, at no more than "
        "40% of the epochs.",
        held,
        figures,
        _table(best, regret, share) + "\n\n" + _summary(figures),
    )


def finished_sweep(folder: Path, scheduler: str, seed: int) -> list[dict[str, Any]]:
    """The events of one sweep, run or resumed to its end if need be."""
    name = f"{scheduler}-{seed}"
    ledger = folder / name / "ledger.jsonl"
    if not ledger.exists():
        ablate(
            "sweep", SPARSEHEAD, "--runs", folder, *SCHEDULES[scheduler],
            "--set", f"name={name}", "--set", f"search.seed={seed}", "--set", "confirm=null",
        )  # fmt: skip
    elif Ledger.read(ledger)[-1]["event"] != "ended":
        ablate("resume", name, "--runs", folder)
    return Ledger.read(ledger)


def best_value(events: list[dict[str, Any]]) -> float:
    return next(float(e["value"]) for e in events if e["event"] == "chosen")


def epochs(events: list[dict[str, Any]]) -> int:
    return sum(e["epochs"] for e in events if e["event"] == "finished")


def rank_correlation(events: list[dict[str, Any]], rung: int, last: int) -> float:
    """Kendall's tau between the values at ``rung`` and at the end, over trials that completed."""
    curves: dict[str, dict[int, float]] = {}
    for event in events:
        if event["event"] == "reported" and "probe.h.val" in event["metrics"]:
            curves.setdefault(event["trial"], {})[event["epoch"]] = event["metrics"]["probe.h.val"]
    full = [curve for curve in curves.values() if last in curve]
    return float(kendalltau([c[rung] for c in full], [c[last] for c in full]).statistic)


def _table(best: list[dict[str, float]], regret: list[float], share: list[float]) -> str:
    rows = ["| search seed | no stopping | ASHA | regret, points | epochs |", "|---|---|---|---|---|"]
    rows += [
        f"| {seed} | {b['none']:.4f} | {b['asha']:.4f} | {r:+.2f} | {s:.0%} |"
        for seed, b, r, s in zip(SEEDS, best, regret, share, strict=True)
    ]
    return "\n".join(rows)


def _summary(figures: dict[str, Any]) -> str:
    return "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in figures.items())
