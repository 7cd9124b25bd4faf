"""`ablate probe`: a finished trial measured anew, without training, perhaps in other ways or on other images.

The model is what was trained; what may be set is how it is measured (``measure``), what it sees (``views``)
and the images (``data``; ``compute.images`` is where they are kept). On another data set the probes are
fitted to its training images and read on its test images, which is what transfer of the encoder means.
Nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ablate.data import default_cache, load
from ablate.spec.base import flatten
from ablate.spec.identity import code_digest
from ablate.spec.load import load_trial
from ablate.spec.trial import TrialSpec
from ablate.train import Diverged
from ablate.trial.artifacts import ArtifactError, finished, recorded_identity, trained_model
from ablate.trial.diagnoses import DIAGNOSES
from ablate.trial.measures import fit_probes, split_metrics, validation_metrics

_MAY = ("data", "views", "measure", "compute.images")  # the last because memories differ, not numbers


@dataclass(frozen=True)
class ProbeResult:
    """``metrics`` as a trial's, those of its last epoch and of test together; ``notes`` for the reader."""

    spec: TrialSpec
    data: str  # digest of the images
    metrics: dict[str, float]
    notes: tuple[str, ...]


def probe_spec(folder: Path, overrides: Sequence[str]) -> TrialSpec:
    """The spec to measure by: the trial's own under ``overrides`` such as ``"measure.knn=5"``.

    Raises ArtifactError if the folder is no finished trial's or the model itself would be another one,
    SpecError for a wrong key or value.
    """
    file = finished(folder) / "spec.json"
    trained, spec = load_trial(file), load_trial(file, overrides)
    was, now = (dict(flatten(one.as_dict())) for one in (trained, spec))
    changed = sorted(key for key in was.keys() | now.keys() if was.get(key, ...) != now.get(key, ...))
    if odd := [key for key in changed if key not in _MAY and key.partition(".")[0] not in _MAY]:
        raise ArtifactError(
            f"{odd[0]}: belongs to what was trained and stays as it was; what may be set: {', '.join(_MAY)}"
        )
    if spec.width != trained.width:
        raise ArtifactError(
            f"views.size: with {spec.views.size} the {spec.encoder.kind} encoder gives h of width "
            f"{spec.width}, but this trial's head takes {trained.width}; leave it at {trained.views.size}"
        )
    if spec.data != trained.data and "generalisation" in spec.measure.diagnose:
        raise ArtifactError(
            "measure.diagnose: generalisation compares with the images that were trained on; leave it out, "
            "or leave data as it was"
        )
    return spec


def probe_trial(
    folder: Path,
    spec: TrialSpec,
    *,
    cache: Path | None = None,
    device: torch.device | None = None,
    threads: int = 1,
) -> ProbeResult:
    """All that a trial measures at its end, of the model in ``folder``, by ``spec`` (from ``probe_spec``).

    With the trial's own spec, code, data, device and threads, exactly the numbers that it reported. Sets the
    number of CPU threads of the process. Raises ArtifactError, or DataError if the images cannot be read.
    """
    torch.set_num_threads(threads)
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = trained_model(folder, spec).to(device)
    data = load(
        spec.data,
        seed=spec.seed,
        cache=cache or default_cache(),
        device=device,
        threads=threads,
        images=spec.compute.images,
    )
    try:
        probes = fit_probes(model, data, spec)
        metrics = validation_metrics(model, data, spec, probes)
        _, scores = split_metrics(model, probes, data.test, spec)
        metrics |= {f"{name}.test": score for name, score in scores.items()}
        for name in spec.measure.diagnose:
            metrics |= DIAGNOSES[name](model, data, spec)
    except Diverged as error:
        raise ArtifactError(f"{folder}: this model cannot be measured: {error}") from error
    return ProbeResult(spec, data.digest, metrics, tuple(_notes(folder, spec, data.digest)))


def _notes(folder: Path, spec: TrialSpec, digest: str) -> list[str]:
    """What a reader who compares with the trial's own numbers must know."""
    then, trained = recorded_identity(folder), load_trial(folder / "spec.json")
    notes = []
    if trained.data != spec.data:
        notes.append(
            f"transfer: probes fitted to training images of {spec.data.kind}, read on its test images"
        )
    elif then.data and then.data != digest:
        notes.append(
            f"the images are not those that were trained on: their digest is {digest}, was {then.data} "
            "(other files, or another version of ablate wrote them)"
        )
    if then.code and then.code != code_digest(trained):
        notes.append("the code has changed since the trial was run: its own numbers may differ from these")
    return notes
