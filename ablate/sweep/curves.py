"""Trials that are played, not trained: what the `simulated` backend runs.

A ``Curve`` says what a configuration reports and how long each part takes. Curves are recorded
(``recordings``: what the trials of earlier sweeps reported, found by the hash of the spec, with the times
between their reports) or synthetic (any function of a spec). ``played`` makes trials of either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ablate.ledger import Event
from ablate.spec.identity import spec_hash
from ablate.spec.trial import TrialSpec
from ablate.sweep.driver import DriverError
from ablate.sweep.inline import MakeTrial, Trial
from ablate.trial import Checkpoint, EpochReport, TrialFailure


class Unrecorded(DriverError):
    """A trial came to a point for which no recording says how it goes on; the message names it."""


class TimedTrial(Trial, Protocol):
    @property
    def seconds(self) -> float:
        """How long what comes next takes: an epoch, or, of a trial that is done, its end."""


@dataclass(frozen=True)
class Lap:
    """One epoch: its metrics, and how long it took."""

    seconds: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class End:
    """How a trial ended by itself: COMPLETE with the metrics of its end, COLLAPSED or FAILED with a reason.

    ``seconds`` passed since its last report.
    """

    state: str
    reason: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Curve:
    """A trial from its beginning. ``end`` is None where the recorded trial was stopped after its last lap."""

    laps: Mapping[int, Lap]  # by epoch, from 1; an untrained encoder has only epoch 0
    end: End | None


def recordings(*ledgers: Iterable[Event]) -> Callable[[TrialSpec], Curve]:
    """The curves in ``ledgers``, by configuration; asked for another one, the function raises Unrecorded.

    Of several trials of one configuration the longest counts. Trials that went on from another's weights
    (population based training) are left out: their curve is not that of their configuration.
    """
    found: dict[str, Curve] = {}
    for events in ledgers:
        for digest, curve in _curves(events):
            if digest not in found or _extent(curve) > _extent(found[digest]):
                found[digest] = curve

    def lookup(spec: TrialSpec) -> Curve:
        curve = found.get(spec_hash(spec))
        if curve is None:
            raise Unrecorded(
                f"none of the {len(found)} recorded configurations is the one now asked for (optim.lr "
                f"{spec.optim.lr:.4g}, {spec.optim.epochs} epochs, seed {spec.seed}, ...). A sweep is "
                "simulated with the base, space and search.seed of the recorded one, and with a sampler that "
                "asks the same whatever the results are: random, qmc, grid or exhaustive."
            )
        return curve

    return lookup


def played(curve: Callable[[TrialSpec], Curve]) -> MakeTrial[Played]:
    """Trials that follow the curves."""

    def make(
        spec: TrialSpec,
        *,
        cache: Path | None,  # noqa: ARG001
        threads: int,  # noqa: ARG001
        through_collapse: bool,  # noqa: ARG001
    ) -> Played:
        return Played(spec, curve(spec))

    return make


class Played:
    """A trial whose reports are those of a curve. Its checkpoints hold nothing: the epoch says all."""

    def __init__(self, spec: TrialSpec, curve: Curve) -> None:
        self.spec, self.curve = spec, curve
        self.epoch, self.done = 0, False

    @property
    def seconds(self) -> float:
        lap = None if self.done else self.curve.laps.get(self._next)
        if lap is not None:
            return lap.seconds
        return 0.0 if self.curve.end is None else self.curve.end.seconds

    @property
    def _next(self) -> int:
        return min(self.epoch + 1, self.spec.optim.epochs)

    def step(self) -> EpochReport:
        lap, end = self.curve.laps.get(self._next), self.curve.end
        if lap is None and end is not None and end.state != "COMPLETE":
            raise TrialFailure(end.state, end.reason)
        if lap is None:
            raise self._unrecorded(f"it goes on to epoch {self._next}")
        self.epoch = self._next
        self.done = self.epoch >= self.spec.optim.epochs
        return EpochReport(self.epoch, dict(lap.metrics))

    def save(self, folder: Path) -> Checkpoint:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"epoch-{self.epoch:04d}"
        path.touch()
        return Checkpoint(self.epoch, str(path), "simulated")

    def restore(self, checkpoint: Checkpoint) -> None:
        self.epoch = checkpoint.epoch

    def finish(self, folder: Path, **_: object) -> dict[str, float]:  # noqa: ARG002
        end = self.curve.end
        if end is None:
            raise self._unrecorded("it comes to its end")
        if end.state != "COMPLETE":
            raise TrialFailure(end.state, end.reason)
        return dict(end.metrics)

    def _unrecorded(self, what: str) -> Unrecorded:
        return Unrecorded(
            f"a recorded trial was stopped after epoch {max(self.curve.laps, default=0)}, but in this "
            f"simulation {what}. Record with scheduler none, so that every trial is known to its end."
        )


def _extent(curve: Curve) -> tuple[int, bool]:
    return max(curve.laps, default=-1), curve.end is not None


@dataclass
class _Recording:
    """A trial as it is read from a ledger; ``since`` is when its last report was made, or it was started."""

    digest: str
    since: float = 0.0
    laps: dict[int, Lap] = field(default_factory=dict)
    end: End | None = None


def _curves(events: Iterable[Event]) -> Iterable[tuple[str, Curve]]:
    trials: dict[str, _Recording] = {}
    for event in events:
        if event["event"] == "asked":
            if event["spec"] is not None and event.get("parent") is None:
                # Not the recorded hash: a spec may have gained keys since, whose defaults change nothing.
                trials[event["trial"]] = _Recording(spec_hash(TrialSpec.model_validate(event["spec"])))
        elif (trial := trials.get(event.get("trial", ""))) is not None:
            _record(trial, event)
    for trial in trials.values():
        if trial.laps or trial.end is not None:
            yield trial.digest, Curve(trial.laps, trial.end)


def _record(trial: _Recording, event: Event) -> None:
    passed = event["time"] - trial.since
    match event["event"]:
        case "started":
            trial.since = event["time"]
        case "reported":
            trial.laps[event["epoch"]] = Lap(passed, event["metrics"])
            trial.since = event["time"]
        case "outcome":
            trial.end = End(event["state"], event["reason"], event["metrics"], passed)
