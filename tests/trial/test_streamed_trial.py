"""A trial whose images are streamed is, bit for bit, the trial whose images are in memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ablate.data.dataset import Dataset
from ablate.data.ffcv_io import PictureFile
from ablate.data.streamed import Streamed
from ablate.spec.trial import TrialSpec
from ablate.trial import TrialRun, run_trial
from ablate.trial.probe import probe_spec, probe_trial
from tests.data.small_sources import png, smooth, write_parquet
from tests.train.synthetic import tiny_trial

DIAGNOSES = ["layers", "factors", "head", "subset", "generalisation", "margins", "inner", "augmentation"]


def digits(**sections: Any) -> TrialSpec:
    optim = {"kind": "sgd", "lr": 0.2, "epochs": 2, "batch": 48}
    return tiny_trial(**({"data": {"kind": "digits", "train": 200, "test": 60}, "optim": optim} | sections))


def photos(folder: Path) -> dict[str, Any]:
    for name, first, count in (("train", 0, 90), ("test", 1000, 20)):
        images = [png(smooth(first + k, side=24)) for k in range(count)]
        write_parquet(folder / f"{name}-0.parquet", images, [k % 3 for k in range(count)])
    return {
        "data": {"kind": "parquet", "path": str(folder), "jpeg": 80},
        "views": {"preset": "photos-32", "size": 16},
    }


def outcome(spec: TrialSpec, images: str, cache: Path, folder: Path) -> tuple[dict[str, float], Dataset]:
    compute = spec.compute.model_copy(update={"images": images})
    spec = spec.model_copy(update={"compute": compute})
    metrics = run_trial(spec, folder=folder, cache=cache).metrics
    return {k: v for k, v in metrics.items() if k != "views_per_second"}, TrialRun(spec, cache=cache).data


@pytest.mark.parametrize("kind", ["digits", "photos"])
def test_metrics_diagnoses_and_weights_are_equal(kind: str, tmp_path: Path) -> None:
    sections = photos(tmp_path) if kind == "photos" else {}
    spec = digits(**sections, measure={"lidar": 4, "diagnose": DIAGNOSES})
    cache = tmp_path / "cache"
    resident, _ = outcome(spec, "resident", cache, tmp_path / "resident")
    streamed, data = outcome(spec, "stream", cache, tmp_path / "stream")
    assert isinstance(data.train.images, Streamed)
    assert resident == streamed
    assert any(name.startswith("augmentation.") for name in streamed)
    for part in ("encoder.pt", "head.pt"):
        one, other = (
            torch.load(tmp_path / where / part, weights_only=True) for where in ("resident", "stream")
        )
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_batch_of_inner_steps_is_decoded_once_for_them_and_the_outer_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = digits(compute={"images": "stream"}, inner={"steps": 1, "batch": "fresh"})
    trainer = TrialRun(spec, cache=tmp_path).trainer
    decoded, read = [], PictureFile.read

    def noted(self: PictureFile, at: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        decoded.extend(at.tolist())
        read(self, at, out)

    monkeypatch.setattr(PictureFile, "read", noted)
    trainer.advance(lambda: False)
    batch = spec.optim.batch
    assert trainer.steps == 3
    assert len(set(decoded)) == 3 * batch
    assert len(decoded) == 4 * batch  # the last step's inner ones are on the first batch again


def test_a_finished_trial_may_be_measured_with_its_images_elsewhere(tmp_path: Path) -> None:
    reported, _ = outcome(digits(), "resident", tmp_path / "cache", tmp_path / "trial")
    spec = probe_spec(tmp_path / "trial", ["compute.images=stream"])
    found = probe_trial(tmp_path / "trial", spec, cache=tmp_path / "cache").metrics
    assert found == {name: value for name, value in reported.items() if name != "loss"}
