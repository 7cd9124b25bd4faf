"""What early stopping costs: the default sweep, its stopping against none, once for each search seed.

For each seed the sweep is run on Ray without any stopping, which tells every trial's full curve. Then the
same trials of each arm in the same order are put before ASHA on two simulated slots, fed with those curves:
trials are equal bit for bit however they are scheduled, so this is what ASHA would have made of them, and its
best trial, trained fully, is on record. So the regret (the mean of the arms') is that of stopping alone; what
TPE would have proposed after other results is another question.

The sweeps stay in `runs/evidence-asha/`, one folder for each digest of sweep and training code, so that a
check cut short goes on where it was.
"""

from __future__ import annotations

import math
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import kendalltau, t

from ablate.ledger import Event, Ledger
from ablate.ledger.memory import MemoryLedger
from ablate.spec import load_sweep
from ablate.spec.identity import code_digest, digest
from ablate.spec.sweep import SweepSpec
from ablate.sweep.curves import played, recordings
from ablate.sweep.driver import Driver
from ablate.sweep.simulated import VirtualClock, run_simulated
from tests.evidence.checks import SPARSEHEAD, ablate
from tests.evidence.harness import ROOT, Finding, check

SEEDS = range(8)
WITHOUT_STOPS = ["--set", "search.scheduler={kind: none}", "--set", "confirm=null"]
ALLOWED_MEAN, ALLOWED_BOUND, ALLOWED_SHARE = 0.5, 1.0, 0.40  # points, points, of the epochs


@check("asha")
def early_stopping(scratch: Path) -> Finding:
    sweep = load_sweep(ROOT / SPARSEHEAD)
    folder = ROOT / "runs" / "evidence-asha" / digest([code_digest(), sweep.as_dict()])
    full = [without_stops(folder, seed) for seed in SEEDS]
    stopped = [with_stops(sweep, events, scratch / str(i)) for i, events in enumerate(full)]
    best = [(mean(best_values(a)), mean(best_values(b))) for a, b in zip(full, stopped, strict=True)]
    regret = [100 * (a - b) for a, b in best]
    share = [epochs(b) / epochs(a) for a, b in zip(full, stopped, strict=True)]
    spread = stdev(regret) / math.sqrt(len(regret))
    bound = mean(regret) + float(t.ppf(0.95, len(regret) - 1)) * spread
    last = sweep.base.optim.epochs
    rungs = sweep.search.scheduler.rungs  # type: ignore[union-attr]
    tau = {rung: mean(rank_correlation(events, rung, last) for events in full) for rung in rungs}
    figures: dict[str, Any] = {
        "seeds": len(regret),
        "regret_points": [round(r, 2) for r in regret],
        "mean_regret_points": round(mean(regret), 2),
        "upper_95_bound_points": round(bound, 2),
        "share_of_epochs": round(mean(share), 3),
        "kendall_tau_rung_to_end": {str(rung): round(value, 2) for rung, value in tau.items()},
    }
    held = mean(regret) <= ALLOWED_MEAN and bound <= ALLOWED_BOUND and mean(share) <= ALLOWED_SHARE
    return Finding(
        "Of the trials of the default sweep, ASHA's best, trained fully, lies on average at most 0.5 points "
        "of validation probe below the best of all, upper 95% t bound at most 1 point, at no more than 40% "
        "of the epochs.",
        held,
        figures,
        _table(best, regret, share) + "\n\n" + _list(figures),
    )


def without_stops(folder: Path, seed: int) -> list[Event]:
    """The events of the sweep with this seed, run or resumed to its end if need be."""
    name = f"none-{seed}"
    ledger = folder / name / "ledger.jsonl"
    if not ledger.exists():
        names = ["--set", f"name={name}", "--set", f"search.seed={seed}"]
        ablate("sweep", SPARSEHEAD, "--runs", folder, *names, *WITHOUT_STOPS)
    elif Ledger.read(ledger)[-1]["event"] != "ended":
        ablate("resume", name, "--runs", folder)
    return Ledger.read(ledger)


def with_stops(sweep: SweepSpec, full: list[Event], runs: Path) -> list[Event]:
    """The events of the default's stopping over the trials of ``full``, arm by arm, played from their
    curves."""
    found: list[Event] = []
    for arm, base in sweep.bases.items():
        points = tuple(e["params"] for e in full if e["event"] == "asked" and e["arm"] == arm)
        search = sweep.search.model_copy(update={"points": points})
        alone = {"arms": None, "base": base, "search": search, "confirm": None}
        clock = VirtualClock()
        log = MemoryLedger(clock)
        changed = sweep.model_copy(update=alone)
        with Driver(changed, runs / arm, clock=clock, open_log=lambda _, log=log: log) as driver:
            run_simulated(driver, played(recordings(full)), clock)
        found += log.events()
    return found


def best_values(events: list[Event]) -> list[float]:
    """Of each arm."""
    return [float(e["value"]) for e in events if e["event"] == "chosen"]


def epochs(events: list[Event]) -> int:
    return sum(e["epochs"] for e in events if e["event"] == "finished")


def rank_correlation(events: list[Event], rung: int, last: int) -> float:
    """Kendall's tau between the values at ``rung`` and at the end, over trials that completed."""
    curves: dict[str, dict[int, float]] = {}
    for event in events:
        if event["event"] == "reported" and "probe.h.val" in event["metrics"]:
            curves.setdefault(event["trial"], {})[event["epoch"]] = event["metrics"]["probe.h.val"]
    full = [curve for curve in curves.values() if last in curve]
    return float(kendalltau([c[rung] for c in full], [c[last] for c in full]).statistic)


def _table(best: list[tuple[float, float]], regret: list[float], share: list[float]) -> str:
    rows = ["| search seed | best of all | ASHA's best | regret, points | epochs |", "|---|---|---|---|---|"]
    rows += [
        f"| {seed} | {a:.4f} | {b:.4f} | {r:.2f} | {s:.0%} |"
        for seed, (a, b), r, s in zip(SEEDS, best, regret, share, strict=True)
    ]
    return "\n".join(rows)


def _list(figures: dict[str, Any]) -> str:
    return "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in figures.items())
