"""torchvision's ResNet-18, -34 and -50 (He et al., arXiv 1512.03385) without their classifier.

``h`` [B, 512 or 2048] is the average pool's output, after a ReLU. Stem ``cifar``, as SimCLR (Chen et al.,
arXiv 2002.05709, appendix B.9) uses on CIFAR-10: 3 x 3 convolution with stride 1 and no max-pool.
"""

from __future__ import annotations

from typing import cast

from torch import nn

from ablate.model.encoders.registered import register_encoder
from ablate.spec.encoder import TorchvisionResNet


@register_encoder(TorchvisionResNet)
def torchvision_resnet(spec: TorchvisionResNet, _size: int) -> nn.Module:
    from ablate.torchvision_import import torchvision  # seconds of import that other encoders do not need

    build = getattr(torchvision.models, spec.kind)
    net = build(weights=None, zero_init_residual=spec.zero_init_residual)
    net.fc = nn.Identity()
    if spec.stem == "cifar":
        net.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        net.maxpool = nn.Identity()
    return cast(nn.Module, net)
