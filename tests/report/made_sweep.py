"""A sweep that nobody ran: its events, and the artifacts of its trials, with numbers made to be checked.

Four search trials end in the four states; then four arms meet three seeds. ``best`` is right on far more
test images than ``pixels`` and ``untrained``, and on about as many as ``simclr``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ablate.ledger import Event, Ledger
from ablate.spec.draw import apply
from ablate.spec.identity import spec_hash
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from tests.search.synthetic import sweep

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


def sweep_spec(name: str = "made") -> SweepSpec:
    confirm = {
        "seeds": 3,
        "first_seed": 1000,
        "references": {"simclr": {"head": {"kind": "mlp", "depth": 2}}},
        "controls": ["untrained", "pixels"],
    }
    return sweep(trials=4, epochs=3, rungs=(1, 2), space=SPACE, confirm=confirm, name=name)


class Made:
    """Events in the order in which a driver would record them, each a second after the one before."""

    def __init__(self, name: str = "made") -> None:
        self.sweep = sweep_spec(name)
        self.events: list[Event] = []
        self.correct: dict[str, np.ndarray[Any, np.dtype[np.bool_]]] = {}
        self._add("opened", sweep=json.loads(json.dumps(self.sweep.as_dict())), fence=1, made_by={})

    def search(self) -> Made:
        """The four search trials and the choice."""
        for number, (state, params) in enumerate(DRAWN):
            spec, trial = apply(self.sweep.base, params), f"t{number:04d}"
            self._ask(trial, number, "search", "search", params, spec)
            epochs = 3 if state == "COMPLETE" else 1
            for epoch in range(1, epochs + 1):
                self.report(trial, epoch, 0.1 * epoch + 0.01 * number)
            final = {"probe.h.test": 0.8} if state == "COMPLETE" else {}
            self._finish(trial, state, "" if state == "COMPLETE" else f"because of {state}", epochs, final)
        self._add(
            "chosen",
            trial="t0000",
            value=0.3,
            params=DRAWN[0][1],
            spec={},
            spec_hash="",
            arms=list(SHARE),
            seeds=list(SEEDS),
            impossible={},
            states={},
        )
        return self

    def confirm(self, *, lost: tuple[str, ...] = ()) -> Made:
        """The ladder; trials named in ``lost`` fail without a score. Then the end."""
        best = apply(self.sweep.base, DRAWN[0][1])
        steps = [(arm, seed) for seed in SEEDS for arm in SHARE]
        for number, (arm, seed) in enumerate(steps):
            trial, trains = f"c{number:04d}", arm in ("best", "simclr")
            changes = {"seed": seed} | ({} if trains else {"optim.epochs": 0})
            params = {"head.kind": "mlp", "head.depth": 3, "optim.lr": 0.125}
            self._ask(trial, number, "confirm", arm, params, apply(best, changes))
            for epoch in range(1, 4) if trains else [0]:
                self.report(trial, epoch, 0.1 * epoch)
            if trial in lost:
                self._finish(trial, "FAILED", "out of memory", 1, {})
                continue
            draws = np.random.default_rng([seed, 7]).random(IMAGES)  # shared by the arms of a seed
            noise = np.random.default_rng([number]).random(IMAGES) < 0.05
            self.correct[trial] = (draws < SHARE[arm]) ^ noise
            score = {"probe.h.test": float(self.correct[trial].mean())}
            self._finish(trial, "COMPLETE", "", 3 if trains else 0, score)
        return self.end()

    def end(self) -> Made:
        self._add("ended", reason="", states={})
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
        self, trial: str, number: int, stage: str, arm: str, params: dict[str, Any], spec: TrialSpec
    ) -> None:
        self._add(
            "asked",
            trial=trial,
            number=number,
            stage=stage,
            arm=arm,
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
