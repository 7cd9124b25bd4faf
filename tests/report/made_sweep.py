"""Sweeps that nobody ran: their events, and the artifacts of their trials, with numbers made to be checked.

``Made()`` has no arms: four search trials end in the four states; then four arms meet three seeds. ``best``
is right on far more test images than ``pixels`` and ``untrained``, and on about as many as ``simclr``. With
``arms`` every arm of every replicate searches with two trials, and what it chose is confirmed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ablate.ledger import Event, Ledger
from ablate.search.confirm import CONTROLS, ladder
from ablate.spec.base import flatten
from ablate.spec.draw import apply
from ablate.spec.identity import spec_hash
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.statistics import alphas, settled
from tests.search.synthetic import LR, sweep

IMAGES, SEEDS = 300, (1000, 1001, 1002)
SHARE = {"best": 0.8, "simclr": 0.79, "untrained": 0.5, "pixels": 0.2}
SPACE: dict[str, Any] = {
    "head.kind": {"choice": ["mlp", "directclr"]},
    "head.depth": {"int": [1, 3], "when": {"head.kind": "mlp"}},
    "head.subvector": {"int": [4, 64], "when": {"head.kind": "directclr"}},
    "optim.lr": {"float": [0.01, 1.0], "log": True},
}
DRAWN: list[tuple[str, dict[str, Any]]] = [
    ("COMPLETE", {"head.kind": "mlp", "head.depth": 3, "optim.lr": 0.125}),
    ("PRUNED", {"head.kind": "directclr", "head.subvector": 16, "optim.lr": 0.5}),
    ("COLLAPSED", {"head.kind": "mlp", "head.depth": 1, "optim.lr": 0.25}),
    ("FAILED", {"head.kind": "mlp", "head.depth": 2, "optim.lr": 1.0}),
]
ARMS: dict[str, Any] = {"baseline": "plain", "each": {"plain": {}, "deep": {"head.depth": 3}}}
DIGEST = "0123456789abcdef" * 4


def sweep_spec(
    name: str = "made", arms: dict[str, Any] | None = None, confirm: dict[str, Any] | None = None
) -> SweepSpec:
    plan: dict[str, Any] = {"seeds": 3, "first_seed": 1000, "controls": ["untrained", "pixels"]}
    if arms is None:
        plan["references"] = {"simclr": {"head": {"kind": "mlp", "depth": 2}}}
        return sweep(trials=4, epochs=3, rungs=(1, 2), space=SPACE, confirm=plan | (confirm or {}), name=name)
    plan["controls"] = ["pixels"]
    return sweep(trials=2, epochs=3, space=LR, arms=arms, confirm=plan | (confirm or {}), name=name)


class Made:
    """Events in the order in which a driver would record them, each a second after the one before.

    ``confirm`` replaces parts of the plan; ``share`` says on what share of the test images each arm is right.
    """

    def __init__(
        self,
        name: str = "made",
        *,
        arms: dict[str, Any] | None = None,
        confirm: dict[str, Any] | None = None,
        share: dict[str, float] | None = None,
    ) -> None:
        self.sweep = sweep_spec(name, arms, confirm)
        assert self.sweep.confirm is not None
        self.plan = self.sweep.confirm
        self.share = share or SHARE
        self.events: list[Event] = []
        self.correct: dict[str, np.ndarray[Any, np.dtype[np.bool_]]] = {}
        self.compared: dict[tuple[str, int], TrialSpec] = {}
        self._add("opened", sweep=json.loads(json.dumps(self.sweep.as_dict())), fence=1, made_by={})

    # --- search ------------------------------------------------------------------------------------------

    def search(self, *, failing: tuple[str, ...] = (), closed: dict[str, str] | None = None) -> Made:
        """All searches, the choices and the declaration. Of a sweep with arms, trials named in ``failing``
        fail, and searches of the arms in ``closed`` are ended for the reason given there."""
        if self.sweep.arms is None:
            self._search_all()
        else:
            self._search_arms(failing, closed or {})
        self._declare()
        return self

    def _search_all(self) -> None:
        for number, (state, params) in enumerate(DRAWN):
            spec, trial = apply(self.sweep.base, params), f"t{number:04d}"
            self._ask(trial, number, "search", "search", params, spec)
            epochs = 3 if state == "COMPLETE" else 1
            for epoch in range(1, epochs + 1):
                self.report(trial, epoch, 0.1 * epoch + 0.01 * number)
            final = {"probe.h.test": 0.8} if state == "COMPLETE" else {}
            self._finish(trial, state, "" if state == "COMPLETE" else f"because of {state}", epochs, final)
        best = apply(self.sweep.base, DRAWN[0][1])
        self._choose("search", 0, "t0000", 0.3, DRAWN[0][1], best)
        self.compared["best", 0] = best
        for name, change in self.plan.references.items():
            self.compared[name, 0] = apply(best, change)
        self._controls(best)

    def _search_arms(self, failing: tuple[str, ...], closed: dict[str, str]) -> None:
        asked = [
            (arm, base, replicate, number)
            for number in range(2)
            for replicate in range(self.sweep.replicates)
            for arm, base in self.sweep.bases.items()
        ]
        for place, (arm, base, replicate, number) in enumerate(asked):
            trial, params = f"t{place:04d}", {"optim.lr": 0.1 / (1 + number)}
            spec = apply(base, {**params, "seed": base.seed + replicate})
            self._ask(trial, number, "search", arm, params, spec, replicate)
            if trial in failing:
                self._finish(trial, "FAILED", "out of memory", 0, {})
                continue
            for epoch in range(1, 4):
                self.report(trial, epoch, 0.1 * epoch + 0.01 * (1 - number))
            self._finish(trial, "COMPLETE", "", 3, {})
            if (arm, replicate) not in self.compared:
                self.compared[arm, replicate] = spec
        for arm, reason in closed.items():
            for replicate in range(self.sweep.replicates):
                self._add("closed", arm=arm, replicate=replicate, by="operator", reason=reason)
        for (arm, replicate), spec in self.compared.items():
            self._choose(arm, replicate, self._first(arm, replicate), 0.31, {"optim.lr": spec.optim.lr}, spec)
        self._controls(self.compared[self.sweep.arms.reference, 0])  # type: ignore[union-attr]

    def _first(self, arm: str, replicate: int) -> str:
        """The first trial of a search that was completed."""
        done = {e["trial"] for e in self.events if e["event"] == "finished" and e["state"] == "COMPLETE"}
        return next(
            str(e["trial"])
            for e in self.events
            if e["event"] == "asked" and (e["arm"], e["replicate"]) == (arm, replicate) and e["trial"] in done
        )

    def _controls(self, model: TrialSpec) -> None:
        for name in self.plan.controls:
            self.compared[name, 0] = apply(model, CONTROLS[name])

    def _choose(
        self, arm: str, replicate: int, trial: str, value: float, params: dict[str, Any], spec: TrialSpec
    ) -> None:
        self._add(
            "chosen",
            arm=arm,
            replicate=replicate,
            trial=trial,
            value=value,
            params=params,
            spec=json.loads(json.dumps(spec.as_dict())),
            spec_hash=spec_hash(spec),
            states={},
            front=[],
        )

    def _declare(self) -> None:
        names = list(dict.fromkeys(arm for arm, _ in self.compared))
        first, *others = [name for name in names if name not in self.plan.controls]
        counts = self.plan.looks or (self.plan.seeds,)
        self._add(
            "declared",
            arms=names,
            seeds=list(range(self.plan.first_seed, self.plan.first_seed + self.plan.seeds)),
            replicates=self.sweep.replicates,
            comparisons=[[o, first] if self.sweep.arms else [first, o] for o in others],
            metric="probe.h.test",
            mode="max",
            looks=[
                {"seeds": n, "alpha": a} for n, a in zip(counts, alphas(counts, self.plan.alpha), strict=True)
            ],
            margin=self.plan.margin,
            impossible={},
            digest=DIGEST,
        )

    # --- confirm -----------------------------------------------------------------------------------------

    def confirm(self, *, lost: tuple[str, ...] = (), cut: int | None = None) -> Made:
        """The ladder; trials named in ``lost`` fail without a score, and after ``cut`` steps the operator
        ends the sweep. Looks are taken where all scores are there. Then the end."""
        declared = self.events[-1]
        looks, width = list(declared["looks"]), len(self.compared)
        for number, (arm, replicate, seed) in enumerate(ladder(self.compared, self.plan)):
            if number == cut:
                return self.end("stopped by the operator")
            self._confirm(f"c{number:04d}", number, arm, replicate, seed, lost)
            if number + 1 == width * looks[0]["seeds"] and self._look(declared, looks.pop(0), last=not looks):
                break
        return self.end()

    def _look(self, declared: Event, look: dict[str, Any], *, last: bool) -> bool:
        """Take a look, if every score is there; whether it ends confirmation."""
        differences = self._differences(declared, look["seeds"])
        if not differences:
            return last
        found = settled(differences, look["alpha"], declared["margin"])
        stop = last or all(each["settled"] for each in found.values())
        self._add("looked", look=1 + declared["looks"].index(look), **look, comparisons=found, stop=stop)
        return stop

    def _confirm(
        self, trial: str, number: int, arm: str, replicate: int, seed: int, lost: tuple[str, ...]
    ) -> None:
        trains = arm not in self.plan.controls
        spec = apply(self.compared[arm, replicate], {"seed": seed} | ({} if trains else {"optim.epochs": 0}))
        has = dict(flatten(spec.as_dict()))
        params = {key: has[key] for key in self.sweep.space if key in has}
        self._ask(trial, number, "confirm", arm, params, spec, replicate)
        for epoch in range(1, 4) if trains else [0]:
            self.report(trial, epoch, 0.1 * epoch)
        if trial in lost:
            self._finish(trial, "FAILED", "out of memory", 1, {})
            return
        draws = np.random.default_rng([seed, 7]).random(IMAGES)  # shared by the arms of a seed
        noise = np.random.default_rng([number]).random(IMAGES) < 0.05
        self.correct[trial] = (draws < self.share[arm]) ^ noise
        score = {"probe.h.test": float(self.correct[trial].mean())}
        self._finish(trial, "COMPLETE", "", 3 if trains else 0, score)

    def _differences(self, declared: Event, seeds: int) -> dict[str, list[float]]:
        """The differences of every unit after so many seeds; empty if a score is missing."""
        trials = {
            e["trial"]: (e["arm"], e["replicate"], e["seed"])
            for e in self.events
            if e["event"] == "asked" and e["stage"] == "confirm"
        }
        score = {
            trials[e["trial"]]: e["metrics"]["probe.h.test"]
            for e in self.events
            if e["event"] == "finished" and e["trial"] in trials and e["state"] == "COMPLETE"
        }
        found: dict[str, list[float]] = {}
        for arm, against in declared["comparisons"]:
            units: list[list[float]] = []
            for replicate in range(declared["replicates"]):
                first = declared["seeds"][0] + replicate * len(declared["seeds"])
                steps = [(replicate, seed) for seed in range(first, first + seeds)]
                if any((a, *step) not in score for step in steps for a in (arm, against)):
                    return {}
                each = [score[(arm, *step)] - score[(against, *step)] for step in steps]
                units += [each] if declared["replicates"] > 1 else [[d] for d in each]
            found[f"{arm} - {against}"] = [sum(unit) / len(unit) for unit in units]
        return found

    # --- events ------------------------------------------------------------------------------------------

    def end(self, reason: str = "") -> Made:
        self._add("ended", reason=reason, states={})
        return self

    def report(self, trial: str, epoch: int, score: float, **metrics: float) -> None:
        self._add(
            "reported", trial=trial, epoch=epoch, metrics={"probe.h.val": score, "loss": 2.0, **metrics}
        )

    def write(self, folder: Path) -> Path:
        """The folder of the sweep: ledger, sweep.json and the artifacts of complete trials."""
        folder.mkdir(parents=True)
        (folder / "sweep.json").write_text(json.dumps(self.sweep.as_dict()))
        append(folder, self.events)
        for event in self.events:
            if event["event"] == "finished" and event["state"] == "COMPLETE":
                self._artifacts(folder / "trials" / event["trial"], event["trial"])
        return folder

    def _artifacts(self, folder: Path, trial: str) -> None:
        folder.mkdir(parents=True)
        (folder / "identity.json").write_text(json.dumps({"data": "0123456789abcdef", "code": "1"}))
        (folder / "encoder.pt").write_bytes(b"weights of " + trial.encode())
        np.savez(folder / "spectrum.npz", h=np.geomspace(10, 1e-3, 16), z=np.zeros(4))
        correct: dict[str, Any] = {"probe.h": self.correct[trial]} if trial in self.correct else {}
        np.savez(folder / "correct.npz", **correct)

    def _ask(
        self,
        trial: str,
        number: int,
        stage: str,
        arm: str,
        params: dict[str, Any],
        spec: TrialSpec,
        replicate: int = 0,
    ) -> None:
        self._add(
            "asked",
            trial=trial,
            number=number,
            stage=stage,
            arm=arm,
            replicate=replicate,
            seed=spec.seed,
            params=params,
            spec=json.loads(json.dumps(spec.as_dict())),
            spec_hash=spec_hash(spec),
            duplicate_of=None,
            parent=None,
            checkpoint=None,
        )
        self._add("started", trial=trial, slot="s0", fence=1)

    def _finish(self, trial: str, state: str, reason: str, epochs: int, final: dict[str, float]) -> None:
        last: dict[str, float] = {}
        for event in self.events:
            if event["event"] == "reported" and event["trial"] == trial:
                last |= event["metrics"]
        self._add(
            "finished", trial=trial, state=state, reason=reason, epochs=epochs, metrics={**last, **final}
        )

    def _add(self, name: str, **fields: Any) -> None:
        self.events.append({"event": name, "time": 1000.0 + len(self.events), **fields})


def append(folder: Path, events: list[Event]) -> None:
    """Append to the ledger of a folder; the ledger writes the times anew."""
    ledger = Ledger.open(folder / "ledger.jsonl")
    ledger.extend([{k: v for k, v in event.items() if k != "time"} for event in events])
    ledger.close()
