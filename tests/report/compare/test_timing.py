"""Speed is compared on one type of machine, shared alike, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ablate.report.compare.timing import Timing, timing
from tests.report.compare.two_sweeps import change, made, side, written

GPU: dict[str, Any] = {"device": "NVIDIA L4", "workers": 1, "threads": 2, "timing": {"gpus": 1.0}}
CPU: dict[str, Any] = {"device": "cpu", "workers": 1, "threads": 1, "timing": {"cpu": "EPYC 7B13"}}


def found(runs: Path, first: dict[str, Any], second: dict[str, Any], slots: int = 1) -> Timing:
    """The first sweep does 200 views a second, the second 300."""
    folders = (
        written(runs, made("one"), pace=200, **first),
        written(runs, change(made("two"), "resources.slots", slots), pace=300, **second),
    )
    return timing([side(folder, letter) for folder, letter in zip(folders, "AB", strict=True)])


def test_medians_of_each_arm_that_trains_and_their_ratio_on_the_same_gpu(tmp_path: Path) -> None:
    timed = found(tmp_path, GPU, GPU)
    assert [(p.arm, p.side) for p in timed.paces] == [
        (arm, letter) for arm in ("plain", "deep", "wide") for letter in "AB"
    ]
    first, second = timed.paces[:2]
    assert (first.median, first.low, first.high, first.trials) == (200, 200, 210, 8)
    assert second.ratio == 1.5
    assert not any("CPU" in note for note in timed.notes)
    assert first.where == "NVIDIA L4, 1 of it a trial, 1 x 2 threads"


def test_no_ratio_between_gpus_of_two_types(tmp_path: Path) -> None:
    timed = found(tmp_path, GPU, {**GPU, "device": "NVIDIA A100"})
    assert {p.ratio for p in timed.paces if p.side == "B"} == {None}
    assert any(n.startswith("No ratio between what ran differently: NVIDIA A100") for n in timed.notes)


def test_no_ratio_where_a_gpu_was_shared_otherwise(tmp_path: Path) -> None:
    timed = found(tmp_path, GPU, {**GPU, "timing": {"gpus": 0.25}})
    assert {p.ratio for p in timed.paces if p.side == "B"} == {None}


def test_a_ratio_on_cpus_holds_for_one_model_and_not_for_other_slots(tmp_path: Path) -> None:
    (tmp_path / "same").mkdir()
    timed = found(tmp_path / "same", CPU, CPU)
    assert timed.paces[1].ratio == 1.5
    assert timed.paces[1].where == "EPYC 7B13, slots: 1, 1 x 1 threads"
    assert any("nothing else was at work" in note for note in timed.notes)
    assert {p.ratio for p in found(tmp_path, CPU, CPU, slots=2).paces if p.side == "B"} == {None}


def test_no_ratio_between_two_models_of_cpu_nor_where_one_is_not_recorded(tmp_path: Path) -> None:
    unknown = {**CPU, "timing": {}}
    for name, first, second in (
        ("models", CPU, {**CPU, "timing": {"cpu": "Xeon 8481C"}}),
        ("one", CPU, unknown),
        ("both", unknown, unknown),
    ):
        (tmp_path / name).mkdir()
        timed = found(tmp_path / name, first, second)
        assert {p.ratio for p in timed.paces if p.side == "B"} == {None}
        assert any("CPU of unknown model" in note for note in timed.notes) == (name != "models")
        assert not any("nothing else was at work" in note for note in timed.notes)


def test_trials_whose_workers_ran_on_several_types_have_no_pace(tmp_path: Path) -> None:
    timed = found(tmp_path, {**GPU, "timing": {"gpus": 1.0, "machines": 2}}, GPU)
    assert {p.side for p in timed.paces} == {"B"}
    assert "plain in A is left out: what it ran on is not the same for all of its trials." in timed.notes


def test_trials_on_two_devices_have_no_pace(tmp_path: Path) -> None:
    folder = written(tmp_path, made("one"), pace=200, **GPU)
    (folder / "trials" / "c0000" / "identity.json").write_text('{"data": "x", "device": "cpu"}')
    timed = timing([side(folder, "A"), side(written(tmp_path, made("two"), pace=300, **GPU), "B")])
    assert [p.side for p in timed.paces if p.arm == "plain"] == ["B"]
    assert "plain in A is left out: what it ran on is not the same for all of its trials." in timed.notes


def test_sweeps_that_recorded_no_speed_say_so(tmp_path: Path) -> None:
    timed = timing(
        [side(written(tmp_path, made(name)), letter) for name, letter in (("one", "A"), ("two", "B"))]
    )
    assert timed.paces == ()
    assert timed.notes == (
        "A recorded no views_per_second of what it confirmed.",
        "B recorded no views_per_second of what it confirmed.",
    )
