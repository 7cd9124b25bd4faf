"""A small residual net that two CPU cores can train: 16 to 32 px views, thousands a second.

Stem 3 x 3 with stride 2, then one stage per entry of ``blocks``: basic residual blocks (He et al., arXiv
1512.03385), channels ``width`` doubled and resolution halved from stage to stage, batch norm, global average
pool; ``h`` [B, width * 2^(stages - 1)] is >= 0, as torchvision's ResNets' is.

The stem's stride is the one departure from a CIFAR ResNet. Most of the cost lies in convolutions at full
resolution; at 24 px, width 16 and blocks (1, 1, 1) the stride makes forward and backward 4 times as fast
(measured, fp32 channels_last, one thread), where halving the width instead gives 2.4 times and halves D.
At 24 px two stages then leave 6 x 6 cells for the average pool and three leave 3 x 3.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ablate.model.encoders.registered import register_encoder
from ablate.spec.encoder import TinyResNet


class BasicBlock(nn.Module):
    """relu(BN(conv(relu(BN(conv(x))))) + shortcut(x)); [B, inputs, S, S] -> [B, outputs, S / stride, ...]."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class TinyResNetEncoder(nn.Module):
    """Views [B, 3, S, S] -> h [B, width * 2^(stages - 1)]."""

    def __init__(self, width: int, blocks: tuple[int, ...]) -> None:
        super().__init__()
        stem = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.stages = nn.Sequential(*_stages(width, blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.stages(self.stem(images)).mean((2, 3)))


def _stages(width: int, blocks: tuple[int, ...]) -> list[nn.Module]:
    stages: list[nn.Module] = []
    channels = width
    for number, count in enumerate(blocks):
        outputs, first_stride = width * 2**number, 2 if number else 1
        rest = [BasicBlock(outputs, outputs, 1) for _ in range(count - 1)]
        stages.append(nn.Sequential(BasicBlock(channels, outputs, first_stride), *rest))
        channels = outputs
    return stages


@register_encoder(TinyResNet)
def tiny_resnet(spec: TinyResNet, _size: int) -> nn.Module:
    return TinyResNetEncoder(spec.width, spec.blocks)
