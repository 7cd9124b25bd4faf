"""Networks: an encoder (images -> ``h``), a projection head (``h`` -> ``z``), and the model that joins them.

A new head is one file in ``heads/`` with a builder under ``@register_head(SpecClass)``; a new encoder
likewise under ``@register_encoder``.
"""

from ablate.model.contrastive import ContrastiveModel, build_model, redraw_head
from ablate.model.encoders import build_encoder, register_encoder
from ablate.model.heads import build_head, head_weights, register_head

__all__ = [
    "ContrastiveModel",
    "build_encoder",
    "build_head",
    "build_model",
    "head_weights",
    "redraw_head",
    "register_encoder",
    "register_head",
]
