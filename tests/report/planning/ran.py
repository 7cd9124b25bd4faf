"""Sweeps that nobody ran, with the scores and the times that a test of planning wants.

Trials follow one another in a single slot, each epoch takes the seconds it is given, and the clock is the
test's. (``tests.report.made_sweep`` makes verdicts; here numbers and times are chosen one by one.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablate.ledger import Event, Ledger
from ablate.spec.draw import apply
from ablate.spec.sweep import SweepSpec
from tests.search.synthetic import sweep

METRIC, OBJECTIVE = "probe.h.test", "probe.h.val"
HEADS: dict[str, Any] = {
    "baseline": "plain",
    "each": {"plain": {}, "deep": {"head.depth": 3}, "shallow": {"head.depth": 1}},
}


def arms_sweep(
    *, each: Sequence[str] = ("plain", "deep"), replicates: int = 1, seeds: int = 8, **more: Any
) -> SweepSpec:
    """Arms with a confirmation and no controls; ``looks``, ``alpha``, ``margin`` and ``controls`` are parts
    of that, the rest of ``tests.search.synthetic.sweep``."""
    plan = {key: more.pop(key) for key in ("looks", "alpha", "margin", "controls") if key in more}
    arms = {**HEADS, "each": {name: HEADS["each"][name] for name in each}, "replicates": replicates}
    return sweep(arms=arms, confirm={"seeds": seeds, "controls": [], **plan}, **more)


class Ran:
    """The events of a sweep, in order."""

    def __init__(self, spec: SweepSpec, *, startup: float = 0.0) -> None:
        self.spec, self.now = spec, 1000.0
        self.events: list[Event] = []
        self.correct: dict[str, NDArray[np.bool_]] = {}
        self.add("opened", sweep=json.loads(json.dumps(spec.as_dict())), fence=1, made_by={})
        self.now += startup

    def trial(
        self,
        name: str,
        arm: str,
        *,
        seed: int = 0,
        number: int = 0,
        replicate: int = 0,
        epochs: int = 3,
        each: float = 10.0,
        end: float = 0.0,
        state: str = "COMPLETE",
        metrics: Mapping[str, float] | None = None,
        repeats: str | None = None,
    ) -> Ran:
        """One trial; ``t0007`` is of the search, ``c0007`` of confirmation. Each epoch takes ``each`` seconds
        and its end ``end`` more. One that ``repeats`` another is not run."""
        self.ask(name, arm, seed=seed, number=number, replicate=replicate, repeats=repeats)
        if repeats is None:
            self.add("started", trial=name, slot="a", fence=1)
            self.reports(name, 1, epochs, each)
        self.now += end
        return self.finish(name, state, epochs, metrics or {})

    def ask(
        self, name: str, arm: str, *, seed: int, number: int, replicate: int, repeats: str | None
    ) -> None:
        base = apply(self.spec.base, {"seed": seed})
        self.add(
            "asked",
            trial=name,
            number=number,
            stage="search" if name.startswith("t") else "confirm",
            arm=arm,
            replicate=replicate,
            seed=seed,
            params={},
            spec=base.as_dict(),
            spec_hash=name,
            duplicate_of=repeats,
            parent=None,
            checkpoint=None,
        )

    def reports(self, name: str, first: int, last: int, each: float) -> None:
        for epoch in range(first, last + 1):
            self.now += each
            self.add("reported", trial=name, epoch=epoch, metrics={"loss": 1.0})

    def finish(self, name: str, state: str, epochs: int, metrics: Mapping[str, float]) -> Ran:
        self.add("finished", trial=name, state=state, reason="", epochs=epochs, metrics=dict(metrics))
        return self

    def confirm(
        self,
        scores: Mapping[str, Sequence[float | None]],
        *,
        each: Mapping[str, float] | None = None,
        replicate: int = 0,
        first_seed: int = 1000,
    ) -> Ran:
        """A score for every arm and seed in the order of the ladder; None: the trial failed."""
        count = sum(e["event"] == "asked" and e["stage"] == "confirm" for e in self.events)
        seeds = max(map(len, scores.values()))
        controls = self.spec.confirm.controls if self.spec.confirm is not None else ()
        for i in range(seeds):
            for arm, row in scores.items():
                if i < len(row):
                    score = row[i]
                    self.trial(
                        f"c{count:04d}",
                        arm,
                        seed=first_seed + i,
                        number=count,
                        replicate=replicate,
                        epochs=0 if arm in controls else 3,
                        each=(each or {}).get(arm, 10.0),
                        end=2.0 if arm in controls else 0.0,
                        state="FAILED" if score is None else "COMPLETE",
                        metrics={} if score is None else {METRIC: score},
                    )
                    count += 1
        return self

    def declare(self) -> Ran:
        """As ``search.looks`` declares a sweep with arms and one look."""
        plan = self.spec.confirm
        assert plan is not None
        arms = list(self.spec.bases)
        self.add(
            "declared",
            arms=[*arms, *plan.controls],
            seeds=list(range(plan.first_seed, plan.first_seed + plan.seeds)),
            replicates=self.spec.replicates,
            comparisons=[[arm, arms[0]] for arm in arms[1:]],
            metric=METRIC,
            mode="max",
            looks=[{"seeds": plan.seeds, "alpha": plan.alpha}],
            margin=plan.margin,
            impossible={},
            digest="0" * 64,
        )
        return self

    def end(self) -> Ran:
        self.add("ended", reason="", states={})
        return self

    def add(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, "time": self.now, **fields})

    def write(self, folder: Path) -> Path:
        """The sweep's folder: its file, its ledger with these times, and what was right on the test set."""
        folder.mkdir(parents=True)
        (folder / "sweep.json").write_text(json.dumps(self.spec.as_dict()))
        now = [0.0]
        ledger = Ledger.open(folder / "ledger.jsonl", clock=lambda: now[0])
        for event in self.events:
            now[0] = event["time"]
            ledger.append({key: value for key, value in event.items() if key != "time"})
        ledger.close()
        for trial, correct in self.correct.items():
            (folder / "trials" / trial).mkdir(parents=True)
            np.savez(folder / "trials" / trial / "correct.npz", **{"probe.h": correct})
        return folder
