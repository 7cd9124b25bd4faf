"""The encoder of a finished trial for use elsewhere: torchvision's state dict, or a network of images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ablate.durable import write_durably
from ablate.spec.encoder import TorchvisionResNet
from ablate.spec.load import load_trial
from ablate.spec.trial import TrialSpec
from ablate.spec.views import ViewSpec
from ablate.trial.artifacts import ArtifactError, finished, trained_model


class ImageEncoder(nn.Module):
    """uint8 images [N, 3, S, S] -> h float32 [N, D], normalised as the trial's views are.

    For images of side S = ``views.size`` it is what probes see (``data.plain_view``); larger ones have to be
    resized (shorter side to S, bilinear, antialiased) and cropped to their centre before.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, views: ViewSpec) -> None:
        super().__init__()
        self.encoder = encoder
        for name, channels in (("mean", views.mean), ("std", views.std)):
            self.register_buffer(name, torch.tensor(channels).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        pixels = (images.float() / 255 - self.mean) / self.std
        return cast(Tensor, self.encoder(pixels.contiguous(memory_format=torch.channels_last)))


def trained_encoder(folder: Path) -> tuple[TrialSpec, nn.Module]:
    """The spec and the encoder of a finished trial, on the CPU, in eval mode, in plain memory order.

    Raises ArtifactError if the folder is no finished trial's, SpecError if its spec cannot be read.
    """
    spec = load_trial(finished(folder) / "spec.json")
    encoder = trained_model(folder, spec).encoder
    encoder.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stubs lack it
    return spec, encoder


def write_torchvision(folder: Path, file: Path) -> str:
    """Write torchvision's own state dict of the encoder, without ``fc``, to ``file``; how to load it.

    Raises ArtifactError if the encoder is none of torchvision's, or ``file`` is there already or cannot be
    written.
    """
    spec, encoder = trained_encoder(folder)
    if not isinstance(spec.encoder, TorchvisionResNet):
        raise ArtifactError(
            f"{folder}: its encoder is {spec.encoder.kind}, which torchvision has not (it has resnet18, "
            "resnet34 and resnet50); `--mlflow DIR` exports any encoder"
        )
    if file.exists():
        raise ArtifactError(f"{file}: is there already; name another file, or remove it")
    written = io.BytesIO()
    torch.save(encoder.state_dict(), written)
    try:
        write_durably(file, written.getbuffer(), reserve=0)
    except OSError as error:
        raise ArtifactError(f"{file}: cannot be written: {error.strerror}") from error
    return _how_to_load(spec, spec.encoder, file)


def _how_to_load(spec: TrialSpec, encoder: TorchvisionResNet, file: Path) -> str:
    stem = (
        "net.conv1 = torch.nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)  # the cifar stem:\n"
        "net.maxpool = torch.nn.Identity()  # 3 x 3 with stride 1, and no max-pool\n"
    )
    constants = f"{list(spec.views.mean)}, {list(spec.views.std)}"
    return (
        f"net = torchvision.models.{encoder.kind}()\n"
        f"{stem if encoder.stem == 'cifar' else ''}"
        "net.fc = torch.nn.Identity()  # h, not classes\n"
        f"net.load_state_dict(torch.load({str(file)!r}, weights_only=True))\n"
        f"mean, std = (torch.tensor(c).view(3, 1, 1) for c in ({constants}))\n"
        f"h = net.eval()((images / 255 - mean) / std)  # images [N, 3, {spec.views.size}, {spec.views.size}]"
    )
