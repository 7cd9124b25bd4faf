"""Ten thousand trials on a thousand slots under the virtual clock, deciding what a real sweep decides.

Two short sweeps are run on Ray: one without stops, whose curves are then played, and one with TPE, ASHA and
confirmation, whose events a simulated driver is told. No sixteen recorded configurations are ten thousand:
each simulated trial plays the mixture of two recorded ones (metrics and durations), both and the weights
drawn by the hash of its spec.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ablate.ledger import Event, Ledger, Log, canonical
from ablate.ledger.memory import MemoryLedger
from ablate.search import replay
from ablate.spec.identity import spec_hash
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.sweep.curves import Curve, End, Lap, played, recordings
from ablate.sweep.driver import LEDGER, Driver
from ablate.sweep.simulated import Usage, VirtualClock, run_simulated
from tests.evidence.checks import SPARSEHEAD, ablate
from tests.evidence.harness import ROOT, Finding, check
from tests.sweep.following import follow

TRIALS, SLOTS = 10_000, 1_000
SIX_EPOCHS = ["base.optim.epochs=6", "base.measure.every=1", "base.measure.also=[]"]
WITHOUT_STOPS = [
    "name=recorded", *SIX_EPOCHS, "search.trials=6", "search.sampler={kind: random}",
    "search.scheduler={kind: none}", "confirm=null",
]  # fmt: skip
WITH_STOPS = [
    "name=real",
    *SIX_EPOCHS,
    "search.trials=4",
    "search.scheduler={kind: asha, rungs: [2, 4], reduction: 2, variant: patient}",
    "confirm.seeds=2",
]
KEEPS_UP = 1_000  # records a second: a slot for every millisecond between two reports


@check("scale")
def at_scale(scratch: Path) -> Finding:
    recorded, real = run_on_ray(scratch, WITHOUT_STOPS), run_on_ray(scratch, WITH_STOPS)
    same = same_decisions(real, scratch / "followed")
    copy = simulate_again(recorded, scratch / "again")
    program = [sys.executable, "-m", "tests.evidence.scale", str(scratch / "recorded/ledger.jsonl")]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    large = json.loads(done.stdout)
    held = same["different_decisions"] == 0 and copy["different_results"] == 0
    held &= large["finished"] >= TRIALS and large["records_per_second"] >= KEEPS_UP
    figures = {"at_scale": large, "same_events": same, "recorded_sweep_again": copy}
    return Finding(
        f"{TRIALS:,} trials on {SLOTS:,} slots are simulated from recorded curves, ledger in memory, at "
        f"{KEEPS_UP:,} records a second at least; told the events of a sweep on Ray, the simulated driver "
        "decides the same; simulated from its own recording, a sweep on Ray has the same results.",
        held,
        figures,
        "\n\n".join(f"**{title.replace('_', ' ')}**\n\n{_table(rows)}" for title, rows in figures.items()),
    )


def run_on_ray(runs: Path, changes: Sequence[str]) -> list[Event]:
    """The ledger of the default sweep with these changes, of which the first is its name."""
    words = [word for change in changes for word in ("--set", change)]
    ablate("sweep", SPARSEHEAD, "--runs", runs, *words)
    return Ledger.read(runs / changes[0].removeprefix("name=") / LEDGER)


def _table(rows: dict[str, Any]) -> str:
    lines = [f"| {name.replace('_', ' ')} | {value} |" for name, value in rows.items()]
    return "\n".join(["| figure | value |", "|---|---|", *lines])


def same_decisions(events: Sequence[Event], runs: Path) -> dict[str, Any]:
    """A real ledger decided anew, twice: by replay, and by a driver in memory that is told its events."""
    replay(events)
    followed = follow(events, runs)
    different = sum(canonical(a) != canonical(b) for a, b in zip(events[1:], followed[1:], strict=True))
    kinds = Counter(e["event"] for e in events)
    return {
        "records": len(events),
        **{name: kinds[name] for name in ("asked", "stopped", "finished", "chosen")},
        "different_decisions": different,
    }


def simulate_again(recorded: list[Event], runs: Path) -> dict[str, Any]:
    """The sweep without stops, from the recording of itself: same results, and was the time foreseen?"""
    sweep = SweepSpec.model_validate(recorded[0]["sweep"])
    usage, ledger = simulate(sweep, runs, recordings(recorded), sweep.resources.slots)
    first = next(e["time"] for e in recorded if e["event"] == "started")
    real = recorded[-1]["time"] - first
    before, after = (_results(events) for events in (recorded, ledger))
    return {
        "trials": len(before),
        "different_results": sum(before[t] != after.get(t) for t in before),
        "real_seconds": round(real, 1),
        "simulated_seconds": round(usage.seconds, 1),
    }


def _results(events: Sequence[Event]) -> dict[str, str]:
    return {e["trial"]: canonical(e) for e in events if e["event"] == "finished"}


def simulate(
    sweep: SweepSpec,
    runs: Path,
    curves: Callable[[TrialSpec], Curve],
    slots: int,
    open_log: Callable[[Path, VirtualClock], Log] = lambda _, clock: MemoryLedger(clock),
) -> tuple[Usage, list[Event]]:
    clock = VirtualClock()
    log = open_log(runs / sweep.name / LEDGER, clock)
    with Driver(sweep, runs, clock=clock, open_log=lambda _: log) as driver:
        usage = run_simulated(driver, played(curves), clock, slots=slots)
        return usage, log.events()


def mixtures(events: Sequence[Event]) -> Callable[[TrialSpec], Curve]:
    """Any configuration's curve, mixed of those of two recorded trials."""
    lookup = recordings(events)
    specs = [TrialSpec.model_validate(e["spec"]) for e in events if e["event"] == "asked"]
    curves = [c for c in map(lookup, specs) if c.end is not None and c.end.state == "COMPLETE"]

    def mixed(spec: TrialSpec) -> Curve:
        drawn, count = int(spec_hash(spec), 16), len(curves)
        one, other = curves[drawn % count], curves[drawn // count % count]
        share = drawn // count**2 % 1000 / 1000
        laps = {epoch: _mix_laps(one.laps[epoch], other.laps[epoch], share) for epoch in one.laps}
        ends = [curve.end for curve in (one, other) if curve.end is not None]
        metrics = _mix(ends[0].metrics, ends[1].metrics, share)
        return Curve(laps, End("COMPLETE", "", metrics, _between(ends[0].seconds, ends[1].seconds, share)))

    return mixed


def _mix_laps(one: Lap, other: Lap, share: float) -> Lap:
    return Lap(_between(one.seconds, other.seconds, share), _mix(one.metrics, other.metrics, share))


def _mix(one: Any, other: Any, share: float) -> dict[str, float]:
    return {name: _between(value, other[name], share) for name, value in one.items() if name in other}


def _between(one: float, other: float, share: float) -> float:
    return one + share * (other - one)


def _mebibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def large(ledger: Path) -> dict[str, Any]:
    """The large sweep, to be run in a process of its own, for its memory to be told apart."""
    recorded = Ledger.read(ledger)
    curves, sweep = mixtures(recorded), larger(recorded[0]["sweep"], "large", TRIALS)
    before, began = _mebibytes(), time.perf_counter()
    usage, events = simulate(sweep, ledger.parents[1], curves, SLOTS)
    seconds, peak = time.perf_counter() - began, _mebibytes()
    states = Counter(e["state"] for e in events if e["event"] == "finished")
    return {
        "finished": states.total(),
        **{state.lower(): count for state, count in sorted(states.items())},
        "records": len(events),
        "seconds": round(seconds, 1),
        "records_per_second": round(len(events) / seconds),
        "records_per_second_on_disk": on_disk(recorded, curves, ledger.parents[1]),
        "simulated_seconds": round(usage.seconds, 1),
        "records_per_simulated_second": round(len(events) / usage.seconds),
        "ideal_seconds": round(usage.busy / SLOTS, 1),
        "efficiency": round(usage.efficiency, 3),
        "longest_trial_seconds": round(max(spans(events).values()), 1),
        "efficiency_until_the_last_trial_starts": round(early_efficiency(events), 3),
        "peak_memory_mib": round(peak),
        "of_it_before_the_sweep_mib": round(before),
        "memory_per_trial_kib": round((peak - before) * 2**10 / TRIALS, 1),
    }


def larger(tree: dict[str, Any], name: str, trials: int) -> SweepSpec:
    """The recorded sweep with early stopping, and with more trials, shared out among its arms."""
    trials = -(-trials // len(SweepSpec.model_validate(tree).bases))
    scheduler = {"kind": "asha", "rungs": [2, 4], "reduction": 2}
    search = {**tree["search"], "trials": trials, "scheduler": scheduler}
    return SweepSpec.model_validate({**tree, "name": name, "search": search})


def on_disk(recorded: Sequence[Event], curves: Callable[[TrialSpec], Curve], runs: Path) -> int:
    """Records a second with the ledger in a file, one fsync for each event and what it led to."""
    sweep = larger(recorded[0]["sweep"], "on-disk", TRIALS // 10)
    began = time.perf_counter()
    _, events = simulate(sweep, runs, curves, SLOTS // 10, Ledger.open)
    return round(len(events) / (time.perf_counter() - began))


def spans(events: Sequence[Event]) -> dict[str, float]:
    """Seconds from the start to the end of each trial; nothing interrupts one here."""
    began = {e["trial"]: e["time"] for e in events if e["event"] == "started"}
    return {e["trial"]: e["time"] - began[e["trial"]] for e in events if e["event"] == "finished"}


def early_efficiency(events: Sequence[Event]) -> float:
    """The share of the slots' time that was used before there was nothing left to begin."""
    begun = [e for e in events if e["event"] == "started"]
    last, took = begun[-1]["time"], spans(events)
    return sum(min(took[e["trial"]], last - e["time"]) for e in begun) / (SLOTS * last)


if __name__ == "__main__":
    print(json.dumps(large(Path(sys.argv[1]))))
