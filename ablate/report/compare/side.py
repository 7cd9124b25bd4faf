"""One sweep of a comparison: what was declared, scored and recorded about where its numbers come from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ablate.ledger import Event
from ablate.report.claims import Claims, claims_of
from ablate.report.confirm import Confirmation, Part, declaration
from ablate.report.machines import machine_of
from ablate.report.trials import TrialRecord, ending, fold_trials, opening
from ablate.spec.base import flatten
from ablate.spec.objective import test_metric
from ablate.spec.sweep import SweepSpec

Arms = tuple[str, ...]  # one arm, or two: the first minus the second


class NotComparable(ValueError):
    """The sweeps cannot be compared; the message says why."""


@dataclass(frozen=True)
class Made:
    """What of a trial's ``identity.json`` its numbers and their speed depend on, "" where it is not recorded;
    ``data`` is the digest."""

    data: str
    code: str
    device: str
    libraries: str
    workers: str
    threads: str
    gpus: float
    machine: str  # see ``report.machines``


@dataclass(frozen=True)
class Value:
    """A score, or a difference of scores within the sweep, of one unit. ``number`` None: ``why`` says what is
    missing. ``trials`` are those of the first arm, ``specs`` the hashes of those of all."""

    number: float | None
    trials: tuple[str, ...]
    specs: tuple[str | None, ...]
    why: str = ""


class Side:
    """The sweep called ``letter``, from its folder and the events of its ledger."""

    def __init__(self, letter: str, label: str, folder: Path, events: list[Event]) -> None:
        """Raises ValueError if the events are not those of a sweep, pydantic's ValidationError if they were
        recorded by another version."""
        self.letter, self.label, self.folder, self.events = letter, label, folder, events
        self.sweep: dict[str, Any] = opening(events)["sweep"]
        self.spec = SweepSpec.model_validate(self.sweep)
        self.records: dict[str, TrialRecord] = fold_trials(events)
        self.ended = ending(events)
        declared = declaration(events)
        self.found: Confirmation | None = None
        if declared is not None and declared["arms"]:
            self.found = Confirmation(folder, events, self.records.values())

    @cached_property
    def claims(self) -> Claims | None:
        return claims_of(self.folder, self.events)

    @property
    def name(self) -> str:
        """How tables call it."""
        return f"{self.letter}: {self.label}"

    @property
    def metric(self) -> tuple[str, Literal["max", "min"]]:
        """What confirmation compares, and the direction in which it is better."""
        if self.found is not None:
            return self.found.metric, self.found.declared["mode"]
        return test_metric(self.spec.search.objective)

    @property
    def sign(self) -> int:
        return 1 if self.metric[1] == "max" else -1

    @property
    def arms(self) -> tuple[str, ...]:
        """What is confirmed, controls too; none before the declaration."""
        return tuple(self.found.declared["arms"]) if self.found is not None else ()

    @property
    def controls(self) -> tuple[str, ...]:
        planned = self.spec.confirm.controls if self.spec.confirm is not None else ()
        return tuple(arm for arm in self.arms if arm in planned)

    def changes(self, arm: str) -> dict[str, Any]:
        """What makes a trial one of this arm: of a sweep's arm what it sets, of a reference what it replaces;
        nothing for what a search chose and for controls."""
        if self.spec.arms is not None:
            return dict(self.spec.arms.settings.get(arm, {}))
        return dict(self.spec.confirm.references.get(arm, {})) if self.spec.confirm is not None else {}

    @property
    def stopped_early(self) -> bool:
        """Whether a look ended confirmation before all declared seeds, since it had settled everything."""
        found = self.found
        if found is None or not found.looked or not found.looked[-1]["stop"]:
            return False
        return found.seeds < len(found.declared["seeds"])

    @property
    def comparisons(self) -> tuple[tuple[str, str], ...]:
        """The declared ones: arm, and against which."""
        return tuple((a, b) for a, b in self.found.declared["comparisons"]) if self.found is not None else ()

    @property
    def confirmed(self) -> list[TrialRecord]:
        """The confirmation trials that count, in the order of the arms and the ladder."""
        found = self.found
        if found is None:
            return []
        keys = [(arm, p.replicate, s) for arm in self.arms for p in self.parts(arm) for s in p.seeds]
        return [found.records[key] for key in keys if key in found.records]

    def parts(self, arm: str, *, seeds: bool = False) -> list[Part]:
        """The units of an arm: those of the sweep, or with ``seeds`` (and always of controls) the seeds of
        its first replicate."""
        assert self.found is not None
        return self.found.of_seeds() if seeds or arm in self.controls else self.found.parts

    def values(self, arms: Arms, *, seeds: bool = False) -> dict[tuple[int, ...], Value]:
        """By the seeds of each unit, its score turned so that larger is better, or of two arms the
        difference."""
        return {part.seeds: self._value(arms, part) for part in self.parts(arms[0], seeds=seeds)}

    def _value(self, arms: Arms, part: Part) -> Value:
        assert self.found is not None
        total, why = 0.0, []
        if not part.whole:
            why.append(f"replicate {part.name} was not confirmed on all its seeds")
        for place, arm in enumerate(arms):
            scores = [self.found.score((arm, part.replicate, seed)) for seed in part.seeds]
            known = [score for score in scores if score is not None]
            why += [] if len(known) == len(scores) else [self._missing(arm, part)]
            total += (1 - 2 * place) * math.fsum(known) / max(1, len(known))
        trials = [[self.trial(arm, part, seed) for seed in part.seeds] for arm in arms]
        specs = tuple(self.records[t].spec_hash for each in trials for t in each if t)
        return Value(None if why else self.sign * total, tuple(trials[0]), specs, "; ".join(why))

    def trial(self, arm: str, part: Part, seed: int) -> str:
        """The confirmation trial of an arm on a seed, "" if it was not asked for."""
        record = self.found.records.get((arm, part.replicate, seed)) if self.found is not None else None
        return "" if record is None else record.trial

    def _missing(self, arm: str, part: Part) -> str:
        assert self.found is not None
        lacking = [seed for seed in part.seeds if self.found.score((arm, part.replicate, seed)) is None]
        trials = filter(None, (self.trial(arm, part, seed) for seed in lacking))
        states = ", ".join(f"{self.letter}-{trial} {self.records[trial].state}" for trial in trials)
        why = f"{arm} has no score on {named(lacking)} in {self.letter}"
        return f"{why} ({states})" if states else why

    @cached_property
    def made(self) -> dict[str, Made]:
        """By confirmation trial; of those whose artifacts are there."""
        found = {r.trial: _made(self.folder / "trials" / r.trial / "identity.json") for r in self.confirmed}
        return {trial: made for trial, made in found.items() if made is not None}

    @property
    def digest(self) -> str:
        """The digest of the data that confirmation was measured on; "" if it is not known to be one."""
        digests = {made.data for made in self.made.values()}
        return digests.pop() if len(digests) == 1 else ""

    @property
    def why_no_digest(self) -> str:
        digests = sorted({made.data for made in self.made.values()})
        if len(digests) > 1:
            return f"the data changed while {self.letter} was confirmed ({', '.join(digests)})"
        if self.found is None:
            return f"nothing was declared to be confirmed in {self.letter}"
        return f"no finished trial of {self.letter} has an identity.json, which names its data"


def _made(path: Path) -> Made | None:
    """None if the file is not there or not whole."""
    try:
        found = json.loads(path.read_text())
        return Made(
            data=str(found["data"]),
            code=str(found.get("code", "")),
            device=str(found.get("device", "")),
            libraries=", ".join(f"{k} {v}" for k, v in sorted(found.get("libraries", {}).items())),
            workers=str(found.get("workers", "")),
            threads=str(found.get("threads", "")),
            gpus=float(found.get("timing", {}).get("gpus", 0.0)),
            machine=machine_of(found),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def named(seeds: Sequence[int]) -> str:
    """A unit by its seeds."""
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"


def letters(count: int) -> list[str]:
    """A, B, ... Z, AA, AB, ..."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    found = []
    for number in range(count):
        first, last = divmod(number, len(alphabet))
        found.append((alphabet[first - 1] if first else "") + alphabet[last])
    return found


def shared(names: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """What all of the sequences have, in the order of the first."""
    first, *others = names
    return tuple(name for name in first if all(name in other for other in others))


def data_names(sides: Sequence[Side]) -> dict[str, str]:
    """By letter, what a sweep's data are called: the kind, with the options that differ between the sweeps of
    that kind, or with the digest where that is all that differs."""
    flat = {side.letter: dict(flatten(side.sweep["base"]["data"])) for side in sides}
    names = {}
    for side in sides:
        data = flat[side.letter]
        alike = [other for other in flat.values() if other["kind"] == data["kind"]]
        options = [k for k in data if len({repr(other.get(k)) for other in alike}) > 1]
        chosen = ", ".join(f"{k}={data[k]}" for k in options)
        names[side.letter] = f"{data['kind']} ({chosen})" if chosen else str(data["kind"])
    digests: dict[str, set[str]] = {}
    for side in sides:
        digests.setdefault(names[side.letter], set()).add(side.digest)
    return {
        side.letter: f"{name} {side.digest[:6]}".rstrip() if len(digests[name]) > 1 else name
        for side, name in zip(sides, names.values(), strict=True)
    }
