"""No head: z = h."""

from __future__ import annotations

from torch import nn

from ablate.model.heads.registered import register_head
from ablate.spec.head import NoHead


@register_head(NoHead)
def none(_spec: NoHead, _width: int) -> nn.Module:
    return nn.Identity()
