"""Builders registered by the class of their spec: which function makes the network a spec describes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

from ablate.spec.base import Spec
from ablate.spec.plugins import registered

S = TypeVar("S", bound=Spec)
Builder = Callable[[S, int], nn.Module]


class Registry:
    """Spec class -> builder(spec, size), for one sort of network ("encoder", "projection head")."""

    def __init__(self, sort: str) -> None:
        self.sort = sort
        self._builders: dict[type[Spec], Builder[Any]] = {}

    def register(self, spec_class: type[S]) -> Callable[[Builder[S]], Builder[S]]:
        """Decorate the builder of ``spec_class``. Raises ValueError if it has one already."""

        def decorate(builder: Builder[S]) -> Builder[S]:
            if spec_class in self._builders:
                raise ValueError(f"{spec_class.__name__} already has a builder for its {self.sort}")
            self._builders[spec_class] = builder
            return builder

        return decorate

    def build(self, spec: Spec, size: int) -> nn.Module:
        """Raises TypeError, naming what is registered, if nothing builds this class of spec; a plugin's
        implementation is imported first."""
        return registered(self._builders, type(spec), self.sort)(spec, size)
