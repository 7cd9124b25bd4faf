"""The registry of encoders, apart from ``encoders/__init__`` so that each encoder's file can import it."""

from ablate.model.registry import Registry

encoders = Registry("encoder")
register_encoder = encoders.register
