"""What each layer of a model makes of the same images: encoder stages, ``h``, the head's layers, ``z``.

An encoder's stages are its modules ``stem`` and ``stages`` (tiny-resnet, and any encoder that names its own
so), or torchvision's stem and ``layer1`` to ``layer4``; one that has neither gives ``h`` alone. A head's
layers are its ``nn.Linear`` modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_CHUNK = 256  # images whose feature maps are in memory at once


@torch.no_grad()
def layer_features(encoder: nn.Module, head: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Features float32 [N, D_layer] of normalised ``images`` [N, 3, S, S], in forward order, in eval mode.

    - ``stem``, ``stage.1``, ...: feature maps averaged over their area. The last stage is not among them, for
      its average is ``h``;
    - ``h``;
    - ``head.1``, ...: the output of the head's k-th linear layer as the next one receives it, after the norm
      and activation between them. The last linear layer is not among them: it gives ``z``, but for a norm;
    - ``z``, as the head gives it, not normalised.

    The modes of encoder and head are left as they were.
    """
    modes = [(module, module.training) for part in (encoder, head) for module in part.modules()]
    encoder.eval()
    head.eval()
    try:
        chunks = [_features(encoder, head, chunk) for chunk in torch.split(images, _CHUNK)]
    finally:
        for module, training in modes:
            module.training = training
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _features(encoder: nn.Module, head: nn.Module, images: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    with _recording(encoder, head, found):
        h = encoder(images)
        found["h"] = _pooled(h)
        found["z"] = _pooled(head(h))
    return found


@contextmanager
def _recording(encoder: nn.Module, head: nn.Module, found: dict[str, Tensor]) -> Iterator[None]:
    def keep_output(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _module, _inputs, out: found.update({name: _pooled(out)})

    def keep_input(name: str) -> Callable[[nn.Module, Any], None]:
        return lambda _module, inputs: found.update({name: _pooled(inputs[0])})

    linears = [module for module in head.modules() if isinstance(module, nn.Linear)]
    handles = [module.register_forward_hook(keep_output(name)) for name, module in _stages(encoder)]
    # What a layer receives, for an activation may work in place on what the one before gave.
    handles += [m.register_forward_pre_hook(keep_input(f"head.{k}")) for k, m in enumerate(linears[1:], 1)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _stages(encoder: nn.Module) -> list[tuple[str, nn.Module]]:
    """The stem and every stage but the last."""
    children = dict(encoder.named_children())
    if "stem" in children and isinstance(stages := children.get("stages"), nn.Sequential):
        all_stages = [children["stem"], *stages]
    elif {"maxpool", "layer1", "layer4"} <= children.keys():
        all_stages = [children["maxpool"], *(children[f"layer{number}"] for number in (1, 2, 3, 4))]
    else:
        return []
    names = ["stem", *(f"stage.{number}" for number in range(1, len(all_stages)))]
    return list(zip(names, all_stages, strict=True))[:-1]


def _pooled(maps: Tensor) -> Tensor:
    """[N, C, ...] -> float32 [N, C]."""
    return maps.float().flatten(2).mean(2) if maps.dim() > 2 else maps.detach().clone().float()
