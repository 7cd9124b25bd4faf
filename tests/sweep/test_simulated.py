"""The virtual clock: when things happen, what is recorded, and that nothing unknown is made up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.ledger import Event, Ledger
from ablate.ledger.memory import MemoryLedger
from ablate.search import replay
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.sweep.curves import Curve, End, Lap, Unrecorded, played, recordings
from ablate.sweep.driver import Driver
from ablate.sweep.simulated import Fault, Usage, VirtualClock, run_simulated
from tests.search.synthetic import METRIC, SEEDS, quality, sweep

Curves = Callable[[TrialSpec], Curve]


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durability is tested with the ledger; here it would only cost time."""
    monkeypatch.setattr("os.fsync", lambda _: None)


def steady(spec: TrialSpec, seconds: float = 10.0, end: End | None = None) -> Curve:
    """Epochs of ``seconds`` each; METRIC comes nearer to the quality of the spec."""
    epochs = range(1, spec.optim.epochs + 1) if spec.optim.epochs else (0,)
    laps = {e: Lap(seconds, {METRIC: quality(spec) * (1 - 0.5**e)}) for e in epochs}
    return Curve(laps, end or End("COMPLETE", metrics={"probe.h.test": quality(spec)}))


def uneven(spec: TrialSpec) -> Curve:
    """Every configuration at its own pace: whole quarters of a second, exact in a float."""
    return steady(spec, 0.25 * (1 + int(1000 * quality(spec)) % 40))


def ending_as(state: str, reason: str) -> Curves:
    """After its first epoch each trial ends by itself."""

    def curve(spec: TrialSpec) -> Curve:
        first = steady(spec).laps[1]
        return Curve({1: first}, End(state, reason, seconds=2.0))

    return curve


def simulate(
    spec: SweepSpec,
    runs: Path,
    curves: Curves = steady,
    *,
    slots: int = 1,
    faults: Sequence[Fault] = (),
    records: Sequence[Event] = (),
    **options: Any,
) -> tuple[Usage, list[Event]]:
    """What was used, and the ledger."""
    clock = VirtualClock(records[-1]["time"] if records else 0.0)
    ledger = MemoryLedger(clock, records)
    with Driver(spec, runs, clock=clock, open_log=lambda _: ledger, **options) as driver:
        usage = run_simulated(driver, played(curves), clock, slots=slots, faults=faults)
        assert driver.finished
    return usage, ledger.events()


def of(events: Sequence[Event], name: str) -> list[Event]:
    return [e for e in events if e["event"] == name]


def test_the_clock_does_not_go_back() -> None:
    clock = VirtualClock(5.0)
    clock.advance(6.0)
    assert clock() == 6.0
    with pytest.raises(ValueError, match=r"6\.0 and cannot go back to 5\.5"):
        clock.advance(5.5)


def test_seven_trials_of_thirty_seconds_take_ninety_on_three_slots(tmp_path: Path) -> None:
    usage, events = simulate(sweep(trials=7), tmp_path, slots=3)
    assert usage == Usage(slots=3, seconds=90.0, busy=210.0)
    assert usage.efficiency == 210 / 270
    assert [e["time"] for e in of(events, "reported")][:4] == [10, 10, 10, 20]
    assert Counter(e["time"] for e in of(events, "finished")) == {30.0: 3, 60.0: 3, 90.0: 1}
    assert events[-1]["event"] == "ended"


def test_a_stopped_trial_leaves_its_slot_at_once_to_the_next(tmp_path: Path) -> None:
    spec = sweep(trials=6, rungs=(1,))
    usage, events = simulate(spec, tmp_path, slots=1)
    stopped = of(events, "stopped")
    assert 0 < len(stopped) < 6
    assert usage.seconds == usage.busy == 10 * (3 * 6 - 2 * len(stopped))


def test_the_slots_wait_for_the_confirmation_until_the_search_is_over(tmp_path: Path) -> None:
    spec = sweep(trials=3, confirm={**SEEDS, "controls": []})
    usage, _ = simulate(spec, tmp_path, slots=2)
    # Two of the three, then one beside an idle slot, then the two seeds.
    assert usage == Usage(slots=2, seconds=90.0, busy=150.0)


def test_equal_sweeps_give_equal_ledgers_times_included(tmp_path: Path) -> None:
    spec = sweep(trials=20, rungs=(1, 2), confirm=SEEDS)
    ledgers = [simulate(spec, tmp_path / str(i), uneven, slots=4)[1] for i in range(2)]
    assert ledgers[0] == ledgers[1]


def test_a_sweep_simulated_from_the_recording_of_itself_is_itself(tmp_path: Path) -> None:
    """Through a file, so through everything that a ledger keeps of a curve."""
    spec = sweep(trials=20, rungs=(1, 2), confirm=SEEDS)
    clock = VirtualClock()
    with Driver(spec, tmp_path, clock=clock, open_log=lambda path: Ledger.open(path, clock=clock)) as driver:
        run_simulated(driver, played(uneven), clock, slots=4)
    recorded = Ledger.read(tmp_path / "s/ledger.jsonl")
    _, again = simulate(spec, tmp_path / "again", recordings(recorded), slots=4)
    assert again == [{k: v for k, v in e.items() if k != "crc"} for e in recorded]


@pytest.mark.parametrize("state", ["COLLAPSED", "FAILED"])
def test_recorded_trials_that_ended_badly_end_so_again(tmp_path: Path, state: str) -> None:
    spec = sweep(trials=4)
    _, first = simulate(spec, tmp_path / "first", ending_as(state, "no spread left"))
    _, again = simulate(spec, tmp_path / "again", recordings(first))
    assert again == first
    assert {(e["state"], e["reason"], e["epochs"]) for e in of(again, "finished")} == {
        (state, "no spread left", 1)
    }


def test_a_configuration_that_was_not_recorded_is_refused(tmp_path: Path) -> None:
    random = {"kind": "random"}
    _, recorded = simulate(sweep(trials=4, sampler=random), tmp_path / "recorded")
    with pytest.raises(Unrecorded, match=r"none of the 4 recorded configurations .* random, qmc, grid"):
        simulate(sweep(trials=5, sampler=random), tmp_path / "longer", recordings(recorded))
    simulate(sweep(trials=3, sampler=random), tmp_path / "shorter", recordings(recorded))


def test_what_a_stopped_trial_would_have_done_is_not_invented(tmp_path: Path) -> None:
    random = {"kind": "random"}
    with_stops = sweep(trials=6, rungs=(1,), sampler=random)
    _, recorded = simulate(with_stops, tmp_path / "recorded")
    with pytest.raises(Unrecorded, match=r"stopped after epoch 1, .* goes on to epoch 2\. .* scheduler none"):
        simulate(sweep(trials=6, sampler=random), tmp_path / "without", recordings(recorded))
    to_the_end = sweep(trials=6, sampler=random)
    _, recorded = simulate(to_the_end, tmp_path / "whole")
    _, stopped = simulate(with_stops, tmp_path / "with", recordings(recorded))
    assert of(stopped, "stopped")


def test_the_longest_recording_of_a_configuration_counts(tmp_path: Path) -> None:
    random = {"kind": "random"}
    _, stopped = simulate(sweep(trials=6, rungs=(1,), sampler=random), tmp_path / "stopped")
    _, whole = simulate(sweep(trials=6, sampler=random), tmp_path / "whole")
    for ledgers in ((stopped, whole), (whole, stopped)):
        folder = tmp_path / f"from {len(ledgers[0])}"
        usage, _ = simulate(sweep(trials=6, sampler=random), folder, recordings(*ledgers))
        assert usage.seconds == 180


def test_a_trial_whose_slot_dies_goes_on_elsewhere_from_its_checkpoint(tmp_path: Path) -> None:
    # Dies 5 s into the second epoch; the other slot is done with its own trial at 30, and then has 20 to do.
    fault = Fault(at=15.0, slot="slot-0", back=1000.0)
    usage, events = simulate(sweep(trials=2), tmp_path, slots=2, faults=[fault])
    [abandoned] = of(events, "abandoned")
    assert (abandoned["time"], abandoned["epoch"], abandoned["reason"]) == (15.0, 1, "its slot died")
    last = [e for e in of(events, "started") if e["trial"] == abandoned["trial"]][-1]
    assert (last["slot"], last["time"]) == ("slot-1", 30.0)
    assert of(events, "ended")[0]["time"] == 50.0
    assert usage.busy == 15 + 30 + 20


def test_a_slot_that_comes_back_works_again(tmp_path: Path) -> None:
    usage, events = simulate(sweep(trials=1), tmp_path, faults=[Fault(15.0, "slot-0", back=7.0)])
    assert [e["time"] for e in of(events, "started")] == [0.0, 22.0]
    assert usage == Usage(slots=1, seconds=42.0, busy=35.0)


def test_a_fault_must_name_a_slot_that_exists(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no slot-7; there are slot-0 to slot-1"):
        simulate(sweep(), tmp_path, slots=2, faults=[Fault(1.0, "slot-7")])


def test_a_budget_of_hours_is_one_of_virtual_hours(tmp_path: Path) -> None:
    """Ten trials of three hours on two slots: after 3.5 hours the second pair is under way, and the last."""
    spec = with_search(sweep(trials=10, confirm=None), budget={"hours": 3.5})
    usage, events = simulate(spec, tmp_path, lambda s: steady(s, 3600.0), slots=2)
    [halted] = of(events, "halted")
    assert (halted["by"], halted["running"]) == ("hours", "finish")
    assert 3.5 * 3600 <= halted["time"] <= 3.5 * 3600 + 1
    assert len(of(events, "finished")) == 4
    assert usage.seconds == 6 * 3600


def test_a_trial_that_runs_too_long_fails_and_a_dead_slot_does_not_turn_its_clock_back(
    tmp_path: Path,
) -> None:
    spec = SweepSpec.model_validate(
        {**sweep(trials=1, epochs=9).as_dict(), "resources": {"trial_hours": 45 / 3600}}
    )
    for faults, epochs in ([], 5), ([Fault(38.0, "slot-0")], 4):  # 5 x 10 s; 38 s, of which 8 lost, and 10
        folder = tmp_path / f"{len(faults)} faults"
        _, events = simulate(spec, folder, faults=faults)
        [finished] = of(events, "finished")
        assert (finished["state"], finished["epochs"]) == ("FAILED", epochs)
        assert finished["reason"].startswith("time-out: after 0.013")
        assert "resources.trial_hours 0.0125" in finished["reason"]


def with_search(spec: SweepSpec, **changes: Any) -> SweepSpec:
    tree = spec.as_dict()
    return SweepSpec.model_validate({**tree, "search": {**tree["search"], **changes}})


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(
    trials=st.integers(1, 12),
    slots=st.integers(1, 5),
    paces=st.lists(st.integers(1, 40), min_size=12, max_size=12),
    deaths=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 4), st.integers(0, 50)), max_size=3),
)
def test_whatever_the_paces_and_deaths_every_trial_finishes_once_and_no_slot_idles(
    tmp_path_factory: pytest.TempPathFactory,
    trials: int,
    slots: int,
    paces: list[int],
    deaths: list[tuple[int, int, int]],
) -> None:
    """List scheduling is never further from the ideal than one longest trial (Graham, 1969)."""
    spec = sweep(trials=trials, epochs=2, sampler={"kind": "random"})
    faults = [Fault(at / 4, f"slot-{slot % slots}", back / 4) for at, slot, back in deaths]

    def paced(trial: TrialSpec) -> Curve:
        return steady(trial, paces[int(1e6 * quality(trial)) % 12] / 4)

    folder = tmp_path_factory.mktemp("simulated")
    usage, events = simulate(spec, folder, paced, slots=slots, faults=faults)
    finished = of(events, "finished")
    assert sorted(e["trial"] for e in finished) == [f"t{i:04d}" for i in range(trials)]
    replay(events)
    assert usage.busy <= slots * usage.seconds
    if not faults:
        longest = 2 * max(paces) / 4
        assert usage.busy / slots <= usage.seconds <= usage.busy / slots + longest
