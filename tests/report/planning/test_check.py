"""A plan beside what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablate.report.planning.check import PACE, SD, UNITS, VERDICTS, Check, check_plan
from ablate.report.planning.cost import CPU, GPU, SLOT, WALL
from ablate.report.planning.pilot import read_pilot
from ablate.report.planning.plan import Plan, make_plan
from ablate.spec.sweep import SweepSpec
from tests.report.planning.ran import METRIC, Ran, arms_sweep

PILOT = {"plain": [0.50, 0.52, 0.47, 0.55], "deep": [0.53, 0.50, 0.52, 0.56]}
BETTER = {"plain": [0.5] * 6, "deep": [0.70, 0.71, 0.69, 0.72, 0.70, 0.68]}
EQUAL = {"plain": [0.5] * 6, "deep": [0.51, 0.49, 0.52, 0.48, 0.50, 0.505]}


def planned(spec: SweepSpec, *, each: float = 10.0) -> Plan:
    """With a pilot whose epochs take ``each`` seconds."""
    pace = dict.fromkeys(PILOT, each)
    return make_plan(spec, [read_pilot(Ran(arms_sweep()).confirm(PILOT, each=pace).events)])


def ran(
    spec: SweepSpec, scores: dict[str, Any] | None = None, *, each: float = 10.0, searched: int = 2
) -> Ran:
    """A sweep of two arms that searched with ``searched`` trials each."""
    made = Ran(spec)
    for i in range(2 * searched):
        arm = ("plain", "deep")[i % 2]
        made.trial(f"t{i:04d}", arm, number=i // 2, each=each, metrics={"probe.h.val": 0.1 * i})
    made.declare()
    return made if scores is None else made.confirm(scores, each=dict.fromkeys(scores, each)).end()


def checked(plan: Plan, made: Ran, folder: Path) -> Check:
    return check_plan(plan, folder, made.events)


def ratios(check: Check) -> dict[str, float | None]:
    return {row.name: row.ratio for row in check.rows}


@pytest.fixture
def spec() -> SweepSpec:
    return arms_sweep(seeds=6, trials=2)


def test_a_sweep_that_went_as_planned_has_no_gap_in_what_it_cost(spec: SweepSpec, tmp_path: Path) -> None:
    found = checked(planned(spec), ran(spec, BETTER), tmp_path)
    for name in ("search trials", "search epochs", "confirm trials", "confirm epochs", WALL, SLOT, CPU, PACE):
        assert ratios(found)[name] == pytest.approx(1.0), name
    assert (ratios(found)[UNITS], ratios(found)[GPU]) == (1.0, None)
    assert (found.ended, found.changed) == (True, ())


def test_the_sd_that_came_is_put_beside_that_of_the_pilot(spec: SweepSpec, tmp_path: Path) -> None:
    plan, made = planned(spec), ran(spec, BETTER)
    found = checked(plan, made, tmp_path)
    row = next(row for row in found.rows if row.name == SD)
    assert plan.noise is not None
    assert row.forecast == plan.noise.sd
    assert row.happened == pytest.approx(np.std(BETTER["deep"], ddof=1))
    assert found.gap.startswith(f"the largest gap: {SD}, ")
    assert "the pilot's 95% interval" in found.gap


@pytest.mark.parametrize(("scores", "reached"), [(BETTER, 1.0), (EQUAL, 0.0)])
def test_whether_a_verdict_was_reached(
    spec: SweepSpec, tmp_path: Path, scores: dict[str, list[float]], reached: float
) -> None:
    found = checked(planned(spec), ran(spec, scores), tmp_path)
    row = next(row for row in found.rows if row.name == VERDICTS)
    assert (row.forecast, row.happened) == (1.0, reached)
    assert VERDICTS not in found.gap
    assert found.verdicts[0].startswith("deep - plain: " + ("better" if reached else "inconclusive"))


def test_slow_epochs_explain_the_hours(spec: SweepSpec, tmp_path: Path) -> None:
    found = checked(planned(spec, each=10.0), ran(spec, BETTER, each=80.0), tmp_path)
    assert ratios(found)[WALL] == pytest.approx(8.0)
    assert found.gap == f"the largest gap: {WALL}, 8 times the forecast: an epoch took 80 s, not 10 s"


def told(machine: str, trials: Iterable[str], folder: Path) -> Path:
    """A folder in which these trials say what they ran on."""
    for trial in trials:
        (folder / "trials" / trial).mkdir(parents=True)
        identity = {"device": "cpu", "timing": {"cpu": machine}}
        (folder / "trials" / trial / "identity.json").write_text(json.dumps(identity))
    return folder


@pytest.mark.parametrize("other", ["EPYC", "Xeon"])
def test_times_on_two_types_of_machine_are_not_compared(spec: SweepSpec, tmp_path: Path, other: str) -> None:
    pilot = Ran(arms_sweep()).confirm(PILOT, each=dict.fromkeys(PILOT, 10.0))
    asked = [e["trial"] for e in pilot.events if e["event"] == "asked"]
    plan = make_plan(spec, [read_pilot(pilot.events, told("EPYC", asked, tmp_path / "pilot"))])
    assert {pace.machine for pace in plan.cost.paces.values()} == {"EPYC"}
    made = ran(spec, BETTER, each=80.0)
    asked = [e["trial"] for e in made.events if e["event"] == "asked"]
    found = checked(plan, made, told(other, asked, tmp_path / "ran"))
    if other == "EPYC":
        assert found.elsewhere == ""
        assert ratios(found)[WALL] == pytest.approx(8.0)
        return
    assert found.elsewhere == (
        "the sweep ran on Xeon, the pilots of the plan on EPYC: hours and seconds compare on one type of "
        "machine only"
    )
    assert {ratios(found)[name] for name in (WALL, SLOT, CPU, GPU, PACE)} == {None}
    assert ratios(found)["confirm epochs"] == pytest.approx(1.0)
    assert "an epoch took" not in found.gap


def test_idle_slots_explain_hours_in_which_nothing_ran(spec: SweepSpec, tmp_path: Path) -> None:
    made = Ran(spec, startup=100_000.0)
    made.events += [{**e, "time": e["time"] + 100_000.0} for e in ran(spec, BETTER).events[1:]]
    found = checked(planned(spec), made, tmp_path)
    assert "slots stood idle longer" in found.gap


def test_epochs_that_were_trained_again_explain_the_hours(spec: SweepSpec, tmp_path: Path) -> None:
    """The last trial of each arm loses its slot 60 times, each time after three epochs."""
    made = ran(spec, {arm: scores[:5] for arm, scores in BETTER.items()})
    made.events.pop()
    for i, arm in enumerate(("plain", "deep")):
        name = f"c{10 + i:04d}"
        made.ask(name, arm, seed=1005, number=10 + i, replicate=0, repeats=None)
        made.add("started", trial=name, slot="a", fence=1)
        for _ in range(60):
            made.reports(name, 1, 3, 10.0)
            made.add("abandoned", trial=name, reason="lost", epoch=0)
            made.add("started", trial=name, slot="a", fence=1)
        made.reports(name, 1, 3, 10.0)
        made.finish(name, "COMPLETE", 3, {METRIC: BETTER[arm][5]})
    found = checked(planned(spec), made.end(), tmp_path)
    trained = 4 * 3 + 10 * 3 + 2 * 61 * 3
    rows = {row.name: row.happened for row in found.rows}
    assert rows["search epochs"] == 12
    assert rows["confirm epochs"] == trained - 12
    assert ratios(found)[WALL] == pytest.approx(trained / 48)
    assert found.gap.startswith("the largest gap: confirm epochs, ")
    assert found.gap.endswith("360 of them were trained again after a slot was lost")


def test_a_search_that_was_closed_says_why_it_was_smaller(tmp_path: Path) -> None:
    spec = arms_sweep(seeds=6, trials=200)
    made = ran(spec)
    made.add("closed", arm="plain", replicate=0, by="hours", reason="2 hours were spent, of 2 budgeted")
    found = checked(planned(spec), made.confirm(BETTER).end(), tmp_path)
    assert found.gap.endswith("2 hours were spent, of 2 budgeted")


def test_a_sweep_that_is_still_going_is_compared_as_far_as_it_is(spec: SweepSpec, tmp_path: Path) -> None:
    found = checked(planned(spec), ran(spec), tmp_path)
    assert not found.ended
    assert ratios(found)["confirm trials"] == 0.0
    assert "the sweep has not ended" in found.gap
    nothing = checked(planned(spec), Ran(spec), tmp_path)
    assert nothing.verdicts == ()
    assert nothing.gap.endswith("the sweep has not ended")


def test_a_look_that_ended_confirmation_explains_its_few_trials(tmp_path: Path) -> None:
    spec = arms_sweep(seeds=60, trials=2, looks=[6, 60])
    made = ran(spec)
    declared = made.events[-1]
    declared["looks"] = [{"seeds": 6, "alpha": 0.04}, {"seeds": 60, "alpha": 0.01}]
    made.confirm(BETTER)
    made.add("looked", look=1, seeds=6, alpha=0.04, comparisons={}, stop=True)
    found = checked(make_plan(spec), made.end(), tmp_path)
    assert ratios(found)[UNITS] == pytest.approx(0.1)
    assert found.gap.endswith("the look after 6 seeds ended it")


def test_the_last_look_ends_nothing_early(tmp_path: Path) -> None:
    made = ran(arms_sweep(seeds=6, trials=2), BETTER)
    made.events.pop()
    made.add("looked", look=1, seeds=6, alpha=0.05, comparisons={}, stop=True)
    found = checked(make_plan(arms_sweep(seeds=3, trials=2)), made.end(), tmp_path)
    assert found.gap == "the largest gap: confirm trials, 2 times the forecast: it was not run as planned"


def test_what_was_changed_after_the_plan_is_named(spec: SweepSpec, tmp_path: Path) -> None:
    other = arms_sweep(seeds=6, trials=2, epochs=4, resources={"keep": ["best"]})
    assert checked(planned(spec), ran(other, BETTER), tmp_path).changed == ("base.optim.epochs",)


def test_without_forecasts_there_is_nothing_to_compare_but_the_counts(tmp_path: Path) -> None:
    spec = arms_sweep(seeds=6, trials=2)
    found = checked(make_plan(spec), ran(spec, BETTER), tmp_path)
    assert (ratios(found)[WALL], ratios(found)[SD]) == (None, None)
    assert found.gap == "no forecast was off by more than 10%"
