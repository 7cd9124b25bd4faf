"""The contenders of `ablate bench sweep` do the work they promise, on a small scale and real Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from ablate.bench import BenchError
from ablate.bench.empty import EmptyTrial, Stopwatch, empty_sweep, run_empty
from ablate.bench.real import TimedTrial, find_epochs, real_sweep, run_alone_in_turn, run_in_slots
from ablate.bench.sweep_suite import QUICK, Sizes, sweep_suite
from ablate.bench.tune_peers import run_functions, run_trainers
from ablate.spec.sweep import SweepSpec
from ablate.trial import TrialRun

SMALL: dict[str, Any] = {"kind": "digits", "train": 160, "test": 40}


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=True,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real trials on few digits, built in the test's folder."""

    def shrunk(trials: int, epochs: int, slots: int) -> SweepSpec:
        tree = real_sweep(trials, epochs, slots).as_dict()
        tree["base"]["data"] = SMALL
        return SweepSpec.model_validate(tree)

    monkeypatch.setattr("ablate.bench.real.real_sweep", shrunk)
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "cache"))


def watch(slots_in_order: str, *, seconds_each: float, state: str = "COMPLETE") -> Stopwatch:
    """A stopwatch that saw trials end at equal distances, in these slots."""
    stopwatch = Stopwatch(began=0.0)
    for number, slot in enumerate(slots_in_order):
        time = 10.0 + seconds_each * number
        stopwatch({"event": "started", "trial": f"t{number}", "slot": slot, "time": time})
        stopwatch({"event": "finished", "trial": f"t{number}", "state": state, "reason": "nan", "time": time})
    return stopwatch


def test_the_cost_of_a_trial_leaves_start_up_out() -> None:
    measured = watch("aab" + "ab" * 150, seconds_each=0.5).measured()
    each = dict.fromkeys(("cost", "first", "rest", "last", "typical first", "typical rest"), 0.5)
    assert measured == {**each, "start-up": 10.0}


def test_a_trial_that_gets_dearer_shows() -> None:
    stopwatch = watch("ab" * 51, seconds_each=0.5)
    last = stopwatch.ends[-1]
    for number in range(200):
        trial, time = f"late{number}", last + 2.0 * (number + 1)
        stopwatch({"event": "started", "trial": trial, "slot": "a", "time": time})
        stopwatch({"event": "finished", "trial": trial, "state": "COMPLETE", "reason": "", "time": time})
    measured = stopwatch.measured()
    assert (measured["first"], measured["rest"], measured["last"]) == (0.5, 2.0, 2.0)
    assert (measured["typical first"], measured["typical rest"]) == (0.5, 2.0)


def test_a_machine_that_halts_does_not_look_like_growth() -> None:
    stopwatch = watch("ab" * 150, seconds_each=0.5)
    stopwatch.ends[200:] = [end + 60.0 for end in stopwatch.ends[200:]]
    measured = stopwatch.measured()
    assert measured["rest"] > 1.5 * measured["first"]
    assert measured["typical rest"] == measured["typical first"]


def test_figures_of_one_slot_or_of_lost_trials_are_refused() -> None:
    with pytest.raises(BenchError, match="not every slot took part"):
        watch("aaaaaa", seconds_each=1.0).measured()
    with pytest.raises(BenchError, match="4 trials did not complete: nan"):
        watch("abab", seconds_each=1.0, state="FAILED").measured()


@pytest.mark.usefixtures("cluster")
def test_empty_trials_go_through_two_slots_and_into_mlflow(tmp_path: Path) -> None:
    measured = run_empty(tmp_path, trials=12, sampler="tpe", mirrored=True)
    assert 0 < measured["cost"] < measured["start-up"]
    assert measured["mirror"] > measured["cost"]
    assert len((tmp_path / "empty-tpe" / "ledger.jsonl").read_text().splitlines()) > 12 * 6
    assert (tmp_path / "mlflow.db").exists()


@pytest.mark.usefixtures("cluster")
def test_tunes_function_trials_run_and_can_reuse_their_actors(tmp_path: Path) -> None:
    for reuse in (False, True):
        measured = run_functions(tmp_path / str(reuse), trials=3, reuse=reuse)
        assert 0 < measured["cost"] < measured["start-up"] + measured["cost"] * 3


@pytest.mark.usefixtures("cluster")
def test_tunes_torch_trainers_run_two_at_a_time(tmp_path: Path) -> None:
    assert run_trainers(tmp_path, trials=3)["cost"] > 0
    names = {path.name.partition("-")[0] for path in tmp_path.iterdir()}
    assert {"peer", "train"} <= names


@pytest.mark.usefixtures("cluster", "small")
def test_real_trials_in_slots_and_alone_are_the_same_trials(tmp_path: Path) -> None:
    epochs = int(find_epochs(tmp_path, seconds=0.01)["epochs"])
    assert epochs == 2
    slots = run_in_slots(tmp_path, trials=2, epochs=epochs, slots=2)
    alone = run_alone_in_turn(tmp_path, trials=2, epochs=epochs)
    assert 0 < slots["steps"] < slots["slots"]
    assert 0 < alone["shortest"] < alone["whole"]
    finished = [
        path.relative_to(tmp_path / name)
        for name in ("real-1", "real-2")
        for path in (tmp_path / name / "trials").glob("*/metrics.json")
    ]
    assert len(finished) == 4
    ours, theirs = (
        sorted(path.read_text() for path in (tmp_path / name).rglob("metrics.json"))
        for name in ("real-1", "real-2")
    )
    assert ours == theirs


@pytest.mark.usefixtures("small")
def test_timing_a_trial_changes_none_of_its_numbers(tmp_path: Path) -> None:
    from ablate.bench import real

    spec = real.real_sweep(1, 2, 1).base
    plain, timed = (kind(spec, cache=tmp_path / "cache") for kind in (TrialRun, TimedTrial))
    for _ in range(2):
        expected, found = plain.step().metrics, timed.step().metrics
        assert {k: found[k] for k in expected if k != "views_per_second"} == {
            k: v for k, v in expected.items() if k != "views_per_second"
        }
        assert found["bench.step"] > 0
    assert plain.finish(None).items() <= timed.finish(None).items()


def test_the_suite_judges_what_the_issue_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablate.bench.sweep_suite.run_alone", lambda _: {"epochs": 8.0})
    suite = sweep_suite(Sizes())
    judged = {figure.peer: figure.target for figure in suite.figures if figure.target}
    assert judged == {
        "Tuner, a fresh TorchTrainer a trial": ">= 100",
        "Tuner, plain function trials": ">= 10",
        "the first 100": "< 1.3",
        "2 slots x wall time": ">= 0.9",
    }
    assert Sizes().empty == 1000
    assert Sizes().seconds >= 20
    assert not any(figure.target for figure in sweep_suite(QUICK).without_targets().figures)


def test_an_empty_trial_does_nothing_but_report_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ablate.bench.empty._wait_for_all_slots", lambda _: None)
    spec = empty_sweep(4, "random").base
    trial = EmptyTrial(spec, cache=tmp_path)
    assert not trial.done
    assert trial.advance(lambda: False).metrics == {"probe.h.val": spec.optim.lr}
    assert trial.done
    assert trial.finish(tmp_path) == {"probe.h.test": spec.optim.lr}
    assert not list(tmp_path.iterdir())
