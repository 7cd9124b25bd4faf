"""One trial, whole: metrics, determinism, exact resume, outcomes and artifacts, on the real digits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ablate.spec.identity import spec_hash
from ablate.spec.trial import TrialSpec
from ablate.trial import (
    Checkpoint,
    CheckpointError,
    EpochReport,
    TrialFailure,
    TrialRun,
    describe_failure,
    run_trial,
)
from tests.train.synthetic import tiny_trial

EPOCH_METRICS = {
    "probe.h.val", "probe.z.val", "knn.h.val", "knn.z.val", "rank.h.effective", "rank.h.rankme",
    "rank.z.effective", "rank.z.rankme", "rank.h.alpha", "rank.h.alpha_distance", "rank.z.alpha",
    "rank.z.alpha_distance", "alignment", "uniformity", "spread.z",
}  # fmt: skip
TRAINING = {"loss", "views_per_second"}
HEAD = {"head.zeros", "head.active_inputs", "head.hoyer"}
TEST = {"probe.h.test", "probe.z.test", "knn.h.test", "knn.z.test"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def small(**sections: object) -> TrialSpec:
    optim = {"kind": "sgd", "lr": 0.2, "epochs": 2, "batch": 128}
    return tiny_trial(**({"data": {"kind": "digits", "train": 300, "test": 100}, "optim": optim} | sections))


def without_speed(metrics: dict[str, float]) -> dict[str, float]:
    return {k: v for k, v in metrics.items() if k != "views_per_second"}


def test_a_trial_reports_every_measure_and_leaves_its_artifacts(cache: Path, tmp_path: Path) -> None:
    spec = small()
    result = run_trial(spec, folder=tmp_path, cache=cache)
    assert (result.state, result.reason, result.epochs) == ("COMPLETE", "", 2)
    assert result.metrics.keys() == EPOCH_METRICS | TRAINING | HEAD | TEST
    assert [r.epoch for r in result.curve] == [1, 2]
    assert json.loads((tmp_path / "spec.json").read_text()) == spec.as_dict()
    identity = json.loads((tmp_path / "identity.json").read_text())
    assert (identity["spec"], identity["workers"], identity["threads"]) == (spec_hash(spec), 1, 1)
    assert identity["device"] == ("cpu" if not torch.cuda.is_available() else torch.cuda.get_device_name())
    correct = np.load(tmp_path / "correct.npz")
    for name in ("probe.h", "probe.z", "knn.h", "knn.z"):
        assert correct[name].shape == (100,)
        assert correct[name].mean() == pytest.approx(result.metrics[f"{name}.test"])
    spectrum = np.load(tmp_path / "spectrum.npz")
    assert spectrum["h"].shape == (spec.width,)
    assert (np.diff(spectrum["z"]) <= 0).all()
    encoder = torch.load(tmp_path / "encoder.pt", weights_only=True)
    assert encoder.keys() == TrialRun(spec, cache=cache).trainer.model.encoder.state_dict().keys()


def test_equal_specs_give_equal_numbers_even_after_another_trial_in_the_process(cache: Path) -> None:
    first = run_trial(small(), cache=cache)
    run_trial(small(head={"kind": "directclr", "subvector": 3}, seed=5), cache=cache)
    second = run_trial(small(), cache=cache)
    assert without_speed(first.metrics) == without_speed(second.metrics)
    assert [without_speed(r.metrics) for r in first.curve] == [without_speed(r.metrics) for r in second.curve]


def test_resume_from_a_checkpoint_is_exact(cache: Path, tmp_path: Path) -> None:
    whole = run_trial(small(), cache=cache)
    first = TrialRun(small(), cache=cache)
    first.step()
    checkpoint = first.save(tmp_path)
    assert checkpoint is not None
    second = TrialRun(small(), cache=cache)
    second.restore(checkpoint)
    assert second.epoch == 1
    report = second.step()
    assert second.done
    assert without_speed(report.metrics) == without_speed(whole.curve[1].metrics)
    assert second.finish(None) == {k: v for k, v in whole.metrics.items() if k in TEST}


def test_a_trial_cut_within_an_epoch_goes_on_exactly(cache: Path, tmp_path: Path) -> None:
    spec = small(optim={"kind": "sgd", "lr": 0.2, "epochs": 2, "batch": 64})
    whole = run_trial(spec, cache=cache)
    first = TrialRun(spec, cache=cache)
    first.step()
    after_epoch = first.save(tmp_path)
    assert first.advance(lambda: True) is None
    assert (first.epoch, first.done) == (1, False)
    within = first.save(tmp_path)
    assert after_epoch is not None
    assert within is not None
    assert (within.epoch, Path(within.path).name) == (1, "epoch-0001-step-000001.pt")
    for checkpoint in (within, after_epoch):  # the one does not take the other's place
        second = TrialRun(spec, cache=cache)
        second.restore(checkpoint)
        report = second.step()
        assert second.done
        assert without_speed(report.metrics) == without_speed(whole.curve[1].metrics)
        assert second.finish(None) == {k: v for k, v in whole.metrics.items() if k in TEST}


def test_what_is_measured_after_a_restore_is_the_restored_state(cache: Path, tmp_path: Path) -> None:
    """A trial that takes the state of another, of as many epochs."""
    optim = {"kind": "sgd", "lr": 0.2, "epochs": 1, "batch": 128, "warmup_epochs": 0}
    first, second = (TrialRun(small(optim=optim, seed=seed), cache=cache) for seed in (0, 1))
    for run in (first, second):
        run.step()
    checkpoint = first.save(tmp_path)
    assert checkpoint is not None
    fresh = TrialRun(second.spec, cache=cache)
    for run in (second, fresh):
        run.restore(checkpoint)
    assert second.finish(None) == fresh.finish(None)


def test_an_altered_or_missing_checkpoint_is_refused(cache: Path, tmp_path: Path) -> None:
    run = TrialRun(small(), cache=cache)
    checkpoint = run.save(tmp_path)
    assert checkpoint is not None
    with pytest.raises(CheckpointError, match="digest"):
        run.restore(Checkpoint(0, checkpoint.path, "0" * 16))
    Path(checkpoint.path).unlink()
    with pytest.raises(CheckpointError, match="gone"):
        run.restore(checkpoint)
    assert not list(tmp_path.glob("*.partial"))


def test_controls_are_trials_of_no_epochs(cache: Path) -> None:
    none = {"kind": "sgd", "epochs": 0, "batch": 128}
    for sections in ({}, {"encoder": {"kind": "pixels"}, "head": {"kind": "none"}}):
        reports: list[EpochReport] = []
        result = run_trial(small(optim=none, **sections), cache=cache, on_epoch=reports.append)
        assert result.state == "COMPLETE"
        assert [r.epoch for r in reports] == [0]
        assert result.metrics.keys() >= EPOCH_METRICS | TEST
    assert result.metrics["probe.h.test"] > 0.7  # plain digits: raw pixels are nearly enough


def test_without_a_head_z_is_h(cache: Path) -> None:
    metrics = run_trial(small(head={"kind": "none"}), cache=cache).metrics
    assert metrics["probe.h.val"] == metrics["probe.z.val"]
    assert metrics["rank.h.rankme"] == metrics["rank.z.rankme"]
    assert not metrics.keys() & HEAD


def test_complete_collapse_ends_the_trial_unless_it_is_to_be_carried_through(cache: Path) -> None:
    dead = small(head={"kind": "linear", "out": 8, "sparsity": {"penalty": "l1", "shrink": 100.0}})
    result = run_trial(dead, cache=cache)
    assert (result.state, result.metrics.get("probe.h.test")) == ("COLLAPSED", None)
    assert "spread of z" in result.reason
    run = TrialRun(dead, cache=cache, through_collapse=True)
    while not run.done:
        report = run.step()
    assert report.metrics["spread.z"] == 0.0
    assert 0 < run.finish(None)["probe.h.test"] <= 1


def test_nan_ends_the_trial_with_its_reason(cache: Path) -> None:
    wild = {"kind": "sgd", "lr": 1e30, "epochs": 2, "batch": 128, "warmup_epochs": 0}
    result = run_trial(small(optim=wild), cache=cache)
    assert result.state == "FAILED"
    assert result.reason.startswith("nan: ")


@pytest.mark.parametrize(("error", "start"), [
    (torch.OutOfMemoryError("CUDA out of memory.\nTried"), "out of memory: CUDA out of memory. Tried"),
    (MemoryError("no room"), "out of memory: no room"),
    (RuntimeError("odd"), "RuntimeError: odd"),
    (TrialFailure("COLLAPSED", "flat"), "flat"),
])  # fmt: skip
def test_whatever_is_raised_becomes_one_line_of_reason(error: Exception, start: str) -> None:
    assert describe_failure(error).reason == start
