"""`ablate probe` and `ablate encoder`: what they print, write and refuse."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from ablate.cli import app
from tests.train.synthetic import tiny_trial
from tests.trial.finished import untrained

runner = CliRunner()
SPEC = tiny_trial(data={"kind": "digits", "train": 100, "test": 50}, head={"kind": "none"})


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    untrained(folder / "trial", SPEC)
    return folder


def test_numbers_are_shown_and_written_elsewhere(work: Path) -> None:
    target = work / "numbers.json"
    cache = ["--cache", str(work / "cache"), "--set", "measure.diagnose=[augmentation]"]
    result = runner.invoke(app, ["probe", str(work / "trial"), "--json", str(target), *cache])
    assert result.exit_code == 0, result.output
    assert "trial measured on digits" in result.stdout
    written = json.loads(target.read_text())
    assert written["spec"]["measure"]["diagnose"] == ["augmentation"]
    assert f"{written['metrics']['probe.h.test']:.4f}" in result.stdout
    assert any(name.startswith("augmentation.") for name in written["metrics"])
    assert {file.name for file in (work / "trial").iterdir()} == {"spec.json", "encoder.pt", "head.pt"}


def test_another_data_set_is_named_by_its_kind_or_its_section(work: Path) -> None:
    for source in ("scattered-digits", "{kind: scattered-digits, per_digit: 1}"):
        options = ["--data", source, "--set", "data.train=100", "--set", "data.test=50"]
        result = runner.invoke(app, ["probe", str(work / "trial"), *options, "--cache", str(work / "cache")])
        assert result.exit_code == 0, result.output
        assert "transfer: probes fitted to training images of scattered-digits" in result.stdout


@pytest.mark.parametrize(("arguments", "words"), [
    (["probe", "nowhere"], "nowhere: has no spec.json, no encoder.pt, no head.pt"),
    (["probe", "trial", "--json", "trial/numbers.json"], "lies in the trial's own folder"),
    (["probe", "trial", "--set", "seed=4"], "seed: belongs to what was trained"),
    (["probe", "trial", "--data", "digitz"], "data.kind: unknown kind 'digitz'; did you mean 'digits'?"),
    (["probe", "trial", "--data", "{kind: folder, path: gone}"], "gone: no such folder"),
    (["encoder", "trial"], "give --torchvision FILE, --mlflow DIR or both"),
    (["encoder", "nowhere", "--mlflow", "m"], "nowhere: has no spec.json"),
    (["encoder", "trial", "--torchvision", "net.pt"], "which torchvision has not"),
])  # fmt: skip
def test_what_cannot_be_done_ends_with_status_2(
    work: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(work)
    monkeypatch.setenv("ABLATE_CACHE", str(work / "cache"))
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert not (work / "trial" / "numbers.json").exists()


def test_the_encoder_is_written_with_a_word_on_how_to_load_it(tmp_path: Path) -> None:
    untrained(tmp_path / "trial", tiny_trial(encoder={"kind": "resnet18", "stem": "cifar"}))
    file = tmp_path / "net.pt"
    result = runner.invoke(app, ["encoder", str(tmp_path / "trial"), "--torchvision", str(file)])
    assert result.exit_code == 0, result.output
    assert "net.conv1 = torch.nn.Conv2d(3, 64, 3, stride=1" in result.stdout
    assert "fc.weight" not in torch.load(file, weights_only=True)


@torch.no_grad()
def test_a_model_for_mlflow_takes_the_images_themselves(work: Path) -> None:
    import mlflow

    from ablate.data import plain_view
    from ablate.trial.encoder import trained_encoder

    target = work / "model"
    result = runner.invoke(app, ["encoder", str(work / "trial"), "--mlflow", str(target)])
    assert result.exit_code == 0, result.output
    assert "uint8 images [N, 3, 16, 16] to h [N, 8], normalised inside" in result.stdout
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    spec, encoder = trained_encoder(work / "trial")
    assert torch.equal(
        mlflow.pytorch.load_model(str(target))(images), encoder(plain_view(images, spec.views))
    )
