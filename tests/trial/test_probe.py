"""A finished trial measured anew: its own numbers, other measures, other images, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from ablate.spec import SpecError
from ablate.spec.trial import TrialSpec
from ablate.trial import run_trial
from ablate.trial.artifacts import ArtifactError, trained_model
from ablate.trial.probe import probe_spec, probe_trial
from tests.train.synthetic import tiny_trial

SPEC = tiny_trial(
    data={"kind": "digits", "train": 200, "test": 100},
    optim={"kind": "sgd", "lr": 0.2, "epochs": 1, "batch": 64, "warmup_epochs": 0},
)
OTHER_DATA = ["data={kind: scattered-digits, train: 100, test: 50, canvas: 16}"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the folder ``trial`` of a finished trial, and the cache that it used."""
    folder = tmp_path_factory.mktemp("work")
    result = run_trial(SPEC, folder=folder / "trial", cache=folder / "cache")
    (folder / "reported.json").write_text(json.dumps(result.metrics))
    return folder


@pytest.fixture
def trial(work: Path, tmp_path: Path) -> Path:
    """A copy of the finished trial, to be damaged."""
    return Path(shutil.copytree(work / "trial", tmp_path / "trial"))


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_by_its_own_spec_it_gives_its_own_numbers_and_leaves_its_folder_alone(work: Path) -> None:
    before = files(work / "trial")
    found = probe_trial(work / "trial", probe_spec(work / "trial", []), cache=work / "cache")
    reported = json.loads((work / "reported.json").read_text())
    assert found.spec == SPEC
    assert found.metrics == {k: v for k, v in reported.items() if k not in ("loss", "views_per_second")}
    assert found.notes == ()
    assert files(work / "trial") == before


def test_other_measures_are_taken_of_the_same_model(work: Path) -> None:
    spec = probe_spec(work / "trial", ["measure.knn=1", "measure.diagnose=[head, generalisation]"])
    found = probe_trial(work / "trial", spec, cache=work / "cache").metrics
    reported = json.loads((work / "reported.json").read_text())
    assert {"head.jacobian_rank", "generalisation.gap"} <= found.keys()
    assert found["rank.h.effective"] == reported["rank.h.effective"]
    assert found["knn.h.test"] != reported["knn.h.test"]


def test_on_another_data_set_probes_are_fitted_and_read_there(work: Path) -> None:
    found = probe_trial(work / "trial", probe_spec(work / "trial", OTHER_DATA), cache=work / "cache")
    reported = json.loads((work / "reported.json").read_text())
    assert {k for k in reported if k not in ("loss", "views_per_second")} == found.metrics.keys()
    assert found.metrics["probe.h.test"] < reported["probe.h.test"]  # a harder task
    assert found.spec.views == SPEC.views  # of the encoder, not of the new source
    [note] = found.notes
    assert note.startswith("transfer: probes fitted to training images of scattered-digits")


@pytest.mark.parametrize(("override", "words"), [
    ("head.depth=3", "head.depth: belongs to what was trained"),
    ("head={kind: none}", "head.depth: belongs to what was trained"),
    ("encoder.width=8", "encoder.width: belongs to what was trained"),
    ("loss.temperature=0.5", "loss.temperature: belongs to what was trained"),
    ("seed=3", "seed: belongs to what was trained"),
    ("optim.lr=1.0", "optim.lr: belongs to what was trained and stays as it was; what may be set: data,"),
])  # fmt: skip
def test_what_was_trained_cannot_be_set(work: Path, override: str, words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        probe_spec(work / "trial", [override])


def test_wrong_keys_are_refused_as_anywhere(work: Path) -> None:
    with pytest.raises(SpecError, match=r"measure.neighbours: unknown key"):
        probe_spec(work / "trial", ["measure.neighbours=3"])


def test_a_gap_to_training_images_is_not_asked_of_other_images(work: Path) -> None:
    with pytest.raises(ArtifactError, match="generalisation compares with the images that were trained on"):
        probe_spec(work / "trial", [*OTHER_DATA, "measure.diagnose=[generalisation]"])


def test_pixels_of_another_size_do_not_fit_the_head(tmp_path: Path) -> None:
    from tests.trial.finished import untrained

    untrained(tmp_path, tiny_trial(encoder={"kind": "pixels"}))
    with pytest.raises(
        ArtifactError, match=r"views.size: with 8 the pixels encoder gives h of width 192, but "
    ):
        probe_spec(tmp_path, ["views.size=8"])


@pytest.mark.parametrize("name", ["spec.json", "encoder.pt", "head.pt"])
def test_a_folder_that_is_no_finished_trials_is_refused(trial: Path, name: str) -> None:
    (trial / name).unlink()
    with pytest.raises(ArtifactError, match=rf"has no {name}; name the folder of a finished trial"):
        probe_spec(trial, [])


def test_a_spec_of_an_earlier_version_still_reads(trial: Path) -> None:
    old = json.loads((trial / "spec.json").read_text())
    del old["inner"], old["compute"]["view_stats"], old["views"]["drop"], old["views"]["drop_views"]
    del old["measure"]["diagnose"], old["data"]["coarse"], old["data"]["corruption"]
    (trial / "spec.json").write_text(json.dumps(old))
    assert probe_spec(trial, []) == SPEC


def test_other_images_and_other_code_than_it_was_trained_with_are_said(trial: Path, work: Path) -> None:
    identity = json.loads((trial / "identity.json").read_text()) | {"data": "0" * 20, "code": "1" * 16}
    (trial / "identity.json").write_text(json.dumps(identity))
    images, code = probe_trial(trial, probe_spec(trial, []), cache=work / "cache").notes
    assert "the images are not those that were trained on" in images
    assert "0" * 20 in images
    assert code.startswith("the code has changed")


def test_a_plugin_of_the_other_data_set_is_no_change_of_the_code(
    trial: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = json.loads((trial / "identity.json").read_text()) | {"code": "digits"}
    (trial / "identity.json").write_text(json.dumps(identity))
    monkeypatch.setattr("ablate.trial.probe.code_digest", lambda spec: spec.data.kind)
    [note] = probe_trial(trial, probe_spec(trial, OTHER_DATA), cache=work / "cache").notes
    assert note.startswith("transfer")


def model_of(trial: Path) -> None:
    trained_model(trial, TrialSpec.model_validate(json.loads((trial / "spec.json").read_text())))


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 torn", b"text"])
def test_damaged_weights_are_refused(trial: Path, damage: bytes) -> None:
    (trial / "encoder.pt").write_bytes(damage)
    with pytest.raises(ArtifactError, match=r"encoder.pt: damaged, or no file of weights alone"):
        model_of(trial)


def test_weights_of_another_model_are_refused(trial: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, trial / "head.pt")
    with pytest.raises(ArtifactError, match=r"head.pt: does not hold a mlp head as spec.json describes: "):
        model_of(trial)


class Trap:
    """What a pickle can do to who reads it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("sprung"),)  # type: ignore[return-value]


def test_no_code_in_a_file_of_weights_is_run(trial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trial)
    torch.save({"weight": Trap()}, trial / "encoder.pt")
    with pytest.raises(ArtifactError, match="no file of weights alone"):
        model_of(trial)
    assert not (trial / "sprung").exists()


def test_everything_that_a_trial_writes_loads_as_weights_only(work: Path, tmp_path: Path) -> None:
    from ablate.trial import TrialRun

    run = TrialRun(SPEC, cache=work / "cache")
    run.save(tmp_path)
    written = [*(work / "trial").glob("*.pt"), *tmp_path.glob("*.pt")]
    assert len(written) == 3
    for file in written:
        assert torch.load(file, weights_only=True)
