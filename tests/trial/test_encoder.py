"""A trained encoder in torchvision's own network: the same h, bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ablate.data import plain_view
from ablate.trial.artifacts import ArtifactError
from ablate.trial.encoder import ImageEncoder, trained_encoder, write_torchvision
from tests.train.synthetic import tiny_data, tiny_trial
from tests.trial.finished import untrained

IMAGES = tiny_data(count=5).train.images  # 16 x 16, the side of the digits' views


def resnet(stem: str) -> dict[str, Any]:
    return {"kind": "resnet18", "stem": stem}


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@torch.no_grad()
def test_the_state_dict_is_torchvisions_own_and_gives_the_same_h(tmp_path: Path, stem: str) -> None:
    from ablate.torchvision_import import torchvision

    spec = tiny_trial(encoder=resnet(stem))
    views = plain_view(IMAGES, spec.views)
    h = untrained(tmp_path / "trial", spec).encoder(views)
    how = write_torchvision(tmp_path / "trial", tmp_path / "resnet.pt")
    state = torch.load(tmp_path / "resnet.pt", weights_only=True)
    net = torchvision.models.resnet18()
    if stem == "cifar":
        assert state["conv1.weight"].shape == (64, 3, 3, 3)
    else:
        missing, unexpected = net.load_state_dict(state, strict=False)
        assert (missing, unexpected) == (["fc.weight", "fc.bias"], [])
    # What is printed is a program.
    names: dict[str, Any] = {"torchvision": torchvision, "torch": torch, "images": IMAGES}
    exec(how, names)
    assert torch.equal(names["h"], h)
    assert torch.equal(names["net"](views), h)


@pytest.mark.parametrize(
    "encoder", [{"kind": "tiny-resnet", "width": 4, "blocks": [1, 1]}, {"kind": "pixels"}]
)
@torch.no_grad()
def test_images_are_normalised_as_probes_see_them(tmp_path: Path, encoder: dict[str, Any]) -> None:
    spec = tiny_trial(encoder=encoder, views={"preset": "photos-32", "size": 16})
    h = untrained(tmp_path, spec).encoder(plain_view(IMAGES, spec.views))
    found, plain = trained_encoder(tmp_path)
    assert found == spec
    assert torch.equal(ImageEncoder(plain, spec.views)(IMAGES), h)


def test_an_encoder_that_torchvision_has_not_is_refused(tmp_path: Path) -> None:
    untrained(tmp_path / "trial", tiny_trial())
    with pytest.raises(ArtifactError, match="its encoder is tiny-resnet, which torchvision has not"):
        write_torchvision(tmp_path / "trial", tmp_path / "net.pt")
    assert not (tmp_path / "net.pt").exists()


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    untrained(tmp_path / "trial", tiny_trial(encoder=resnet("cifar")))
    (tmp_path / "net.pt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"net.pt: is there already"):
        write_torchvision(tmp_path / "trial", tmp_path / "net.pt")
    assert (tmp_path / "net.pt").read_text() == "mine"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    untrained(tmp_path / "trial", tiny_trial(encoder=resnet("cifar")))
    with pytest.raises(ArtifactError, match=r"nowhere/net.pt: cannot be written: No such file or directory"):
        write_torchvision(tmp_path / "trial", tmp_path / "nowhere" / "net.pt")
