"""An encoder in MLflow's model format: the same h, bit for bit, without pickled code."""

import zipfile
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ablate.torchvision_import import torchvision  # noqa: F401 (MLflow imports it, as it is, otherwise)
from ablate.tracking import TrackingError
from ablate.tracking.encoder_model import save_encoder

SIDE = 8


class Small(nn.Module):
    """uint8 [N, 3, 8, 8] -> [N, 4]: a convolution, a batch norm, and memory order, as encoders have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        nn.init.uniform_(self.norm.running_mean)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        maps = self.norm(self.conv((images.float() / 255).contiguous(memory_format=torch.channels_last)))
        return torch.relu(maps).mean((2, 3))


class Branching(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        x = images.float().flatten(1)[:, :4]
        return x if float(x.sum()) > 0 else -x


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    folder = tmp_path_factory.mktemp("models") / "encoder"
    torch.manual_seed(0)
    encoder = Small()
    save_encoder(encoder, folder, size=SIDE, width=4, metadata={"ablate.spec_hash": "abc"})
    return encoder, folder


@torch.no_grad()
def test_it_gives_the_same_h_for_any_number_of_images(saved: tuple[nn.Module, Path]) -> None:
    encoder, folder = saved
    as_torch, as_function = mlflow.pytorch.load_model(str(folder)), mlflow.pyfunc.load_model(str(folder))
    generator = torch.Generator().manual_seed(0)
    for count in (1, 2, 7):
        images = torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
        h = encoder(images)
        assert torch.equal(as_torch(images), h)
        assert np.array_equal(as_function.predict(images.numpy()), h.numpy())


def test_it_says_what_goes_in_and_out_and_where_it_is_from(saved: tuple[nn.Module, Path]) -> None:
    model = mlflow.models.Model.load(str(saved[1]))
    [image], [h] = model.signature.inputs.inputs, model.signature.outputs.inputs
    assert (image.type, image.shape) == (np.dtype(np.uint8), (-1, 3, SIDE, SIDE))
    assert (h.type, h.shape) == (np.dtype(np.float32), (-1, 4))
    assert model.metadata == {"ablate.spec_hash": "abc"}


def test_its_network_is_a_graph_and_no_pickle(saved: tuple[nn.Module, Path]) -> None:
    [file] = (saved[1] / "data").iterdir()
    assert file.name == "model.pt2"
    names = zipfile.ZipFile(file).namelist()
    assert not [name for name in names if name.endswith((".pkl", ".py"))]
    needed = (saved[1] / "requirements.txt").read_text().split()
    assert [line.partition("==")[0] for line in needed] == ["mlflow", "numpy", "torch"]


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="is there already"):
        save_encoder(Small(), tmp_path, size=SIDE, width=4, metadata={})
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_cannot_be_traced_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"this encoder cannot be saved in MLflow's format: \w+: "):
        save_encoder(Branching(), tmp_path / "model", size=SIDE, width=4, metadata={})
    assert not (tmp_path / "model").exists()
