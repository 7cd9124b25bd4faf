"""Sweeps that nobody ran, with every number that a report can show, and a search as large as people run."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ablate.ledger import Event
from ablate.spec.draw import apply, draw
from ablate.spec.grid import value_at
from ablate.spec.identity import spec_hash
from ablate.spec.sweep import SweepSpec
from tests.report.analysis import made_search
from tests.report.made_sweep import Made, append
from tests.search.synthetic import METRIC, sweep

LAYERS, FACTORS = ("stem", "stage.1", "h", "head.1", "z"), ("class", "background")
WIDTHS = {"h": 24, "z": 12, "h_normalized": 24, "z_normalized": 12}


def rich_metrics(trial: str) -> dict[str, float]:
    """One number of every kind, different for each trial."""
    draws = iter(np.random.default_rng(zlib.crc32(trial.encode())).random(200).tolist())
    found = {
        "rank.h.effective": 4 + 8 * next(draws),
        "rank.z.effective": 2 + 4 * next(draws),
        "rank.h.lidar": 1 + next(draws),
        "head.zeros": next(draws),
        "head.hoyer": next(draws),
        "alignment": next(draws),
        "margins.A": 1 + next(draws),
        "margins.theta.q50": next(draws),
        "generalisation.gap": next(draws) / 10,
        "factors.h.dfr.worst": next(draws),
        "inner.gap": next(draws),
    }
    for layer in LAYERS:
        for factor in FACTORS:
            found |= {f"layers.{layer}.{factor}.{kind}": next(draws) for kind in ("probe", "knn", "share")}
    for angles in ("0_30", "30_60"):
        for p in ("0_10", "90_100"):
            name = f"margins.theta{angles}.p{p}"
            found[f"{name}.share"] = next(draws) / 4
            if (angles, p) != ("30_60", "90_100"):  # nobody there: no means either
                found |= {f"{name}.{kind}": 0.5 + next(draws) for kind in ("A", "B", "AB")}
    return found


def rich(made: Made) -> Made:
    """The same sweep, whose completed trials have every number."""
    for event in made.events:
        if event["event"] == "finished" and event["state"] == "COMPLETE":
            event["metrics"] |= rich_metrics(event["trial"])
    return made


def write(made: Made, folder: Path) -> Path:
    """Its folder, with spectra that fall as spectra do and identities that tell of a machine."""
    made.write(folder)
    for trial in sorted(path.name for path in (folder / "trials").iterdir()):
        artifacts(folder / "trials" / trial, trial)
    return folder


def artifacts(folder: Path, trial: str, widths: Mapping[str, int] = WIDTHS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(trial.encode()))
    arrays: dict[str, Any] = {n: 7 * np.exp(-rng.random() * np.arange(w) / 3) for n, w in widths.items()}
    np.savez(folder / "spectrum.npz", **arrays)
    identity = {
        "code": "c0de", "data": "da7a", "device": "cpu", "threads": 1, "workers": 1,
        "libraries": {"torch": "2.13.0", "numpy": "2.4.6"},
    }  # fmt: skip
    (folder / "identity.json").write_text(json.dumps(identity))


def mirrored(folder: Path, uri: str) -> None:
    """What the mirror would leave: a run for every trial that has a folder."""
    runs = {path.name: f"{i:032x}" for i, path in enumerate(sorted((folder / "trials").iterdir()), 1)}
    mark = {"uri": uri, "experiment": "made", "experiment_id": "3", "parent": "f" * 32, "runs": runs}
    (folder / "tracking.json").write_text(json.dumps(mark))


# --- as large as people run ------------------------------------------------------------------------------

_SPACE: dict[str, Any] = {
    "optim.lr": {"float": [0.01, 1.0], "log": True},
    "loss.temperature": {"float": [0.05, 1.0], "log": True},
    "optim.weight_decay": {"float": [1e-6, 1e-3], "log": True},
    "head.out": {"int": [16, 128]},
    "head.norm": {"choice": ["batch", "none"]},
}
_ARMS: dict[str, Any] = {
    "baseline": "two",
    "each": {"two": {}, "one": {"head.depth": 1}, "three": {"head.depth": 3}, "four": {"head.depth": 4}},
}
_RUNGS, _EPOCHS, _IMAGES = (2, 4), 8, 2000


def large(folder: Path, *, trials: int = 125, seeds: int = 10) -> Path:
    """Four arms, each with ``trials`` in its search, half of them stopped early, and a confirmation."""
    spec = sweep(
        trials=trials, epochs=_EPOCHS, rungs=_RUNGS, space=_SPACE, arms=_ARMS, name=folder.name,
        confirm={"seeds": seeds, "margin": 0.02}, sampler={"kind": "tpe", "startup": 20},
    )  # fmt: skip
    searched = [trial for arm in spec.bases for trial in _search(spec, arm, trials)]
    events = made_search.made_events(spec, searched, specs=True)[:-1]
    events += _confirmation(spec, events)
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps(spec.as_dict()))
    append(folder, [{k: v for k, v in event.items() if k != "sequence"} for event in events])
    for event in events:
        if event["event"] == "finished" and event["state"] == "COMPLETE":
            place = folder / "trials" / event["trial"]
            artifacts(place, event["trial"], {"h": 512, "z": 128, "h_normalized": 512, "z_normalized": 128})
            right = np.random.default_rng(zlib.crc32(event["trial"].encode())).random(_IMAGES) < 0.8
            stored: dict[str, Any] = {"probe.h": right}
            np.savez(place / "correct.npz", **stored)
    return folder


def _search(spec: SweepSpec, arm: str, trials: int) -> list[made_search.Made]:
    rng = np.random.default_rng(zlib.crc32(arm.encode()))
    found = []
    for number in range(trials):
        params = draw(spec.space, lambda _, entry: value_at(entry, rng.random()), spec.bases[arm])
        end = 0.8 - 0.1 * (np.log10(float(str(params["optim.lr"]))) + 1) ** 2 + 0.02 * rng.standard_normal()
        last = _EPOCHS if number % 2 else _RUNGS[number % 4 // 2]
        curve = {epoch: float(end * (1 - 0.5 / epoch)) for epoch in range(1, last + 1)}
        more = {"loss": float(rng.random()), **rich_metrics(f"{arm}{number}")}
        state = "COMPLETE" if number % 2 else "PRUNED"
        found.append(made_search.Made(curve, params, state, arm, more=more))
    return found


def _confirmation(spec: SweepSpec, before: list[Event]) -> list[Event]:
    """Choices, the declaration, the ladder and the end."""
    assert spec.confirm is not None
    asked = {e["trial"]: e for e in before if e["event"] == "asked"}
    best: dict[str, Event] = {}
    for event in before:
        if event["event"] == "finished" and event["state"] == "COMPLETE":
            arm = asked[event["trial"]]["arm"]
            if arm not in best or event["metrics"][METRIC] > best[arm]["metrics"][METRIC]:
                best[arm] = event
    arms = [*spec.bases, *spec.confirm.controls]
    first, *others = spec.bases
    seeds = list(range(spec.confirm.first_seed, spec.confirm.first_seed + spec.confirm.seeds))
    found: list[Event] = [
        {
            "event": "chosen", "arm": arm, "replicate": 0, "trial": e["trial"], "value": e["metrics"][METRIC],
            "params": asked[e["trial"]]["params"], "spec": asked[e["trial"]]["spec"], "spec_hash": "0",
            "states": {}, "front": [],
        }
        for arm, e in best.items()
    ]  # fmt: skip
    found.append(
        {
            "event": "declared", "arms": arms, "seeds": seeds, "replicates": 1, "metric": "probe.h.test",
            "comparisons": [[other, first] for other in others], "mode": "max", "impossible": {},
            "looks": [{"seeds": len(seeds), "alpha": 0.05}], "margin": spec.confirm.margin,
            "digest": "d" * 64,
        }
    )  # fmt: skip
    for number, (seed, arm) in enumerate((seed, arm) for seed in seeds for arm in arms):
        model = best.get(arm, best[first])
        found += _confirmed(spec, f"c{number:04d}", number, arm, seed, asked[model["trial"]]["params"])
    return [*found, {"event": "ended", "reason": "", "states": {}}]


def _confirmed(
    spec: SweepSpec, trial: str, number: int, arm: str, seed: int, params: dict[str, Any]
) -> list[Event]:
    base = apply(spec.bases.get(arm, spec.base), {**params, "seed": seed})
    score = float((np.random.default_rng(zlib.crc32(trial.encode())).random(_IMAGES) < 0.8).mean())
    metrics = {"loss": 1.0, METRIC: score, **rich_metrics(trial)}
    asked = {
        "event": "asked", "trial": trial, "number": number, "stage": "confirm", "arm": arm, "replicate": 0,
        "seed": seed, "params": params, "spec": json.loads(json.dumps(base.as_dict())),
        "spec_hash": spec_hash(base), "duplicate_of": None, "parent": None, "checkpoint": None,
    }  # fmt: skip
    rows = [
        {"event": "reported", "trial": trial, "epoch": epoch, "metrics": metrics}
        for epoch in range(1, _EPOCHS + 1)
    ]
    end = {"event": "finished", "trial": trial, "state": "COMPLETE", "reason": "", "epochs": _EPOCHS}
    started = {"event": "started", "trial": trial, "slot": "s0", "fence": 1}
    return [asked, started, *rows, {**end, "metrics": {**metrics, "probe.h.test": score}}]
