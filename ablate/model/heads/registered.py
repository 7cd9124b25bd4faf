"""The registry of projection heads, apart from ``heads/__init__`` so that each head's file can import it."""

from ablate.model.registry import Registry

heads = Registry("projection head")
register_head = heads.register
