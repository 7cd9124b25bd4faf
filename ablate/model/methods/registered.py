"""The registry of methods, apart from ``methods/__init__`` so that each method's file can import it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ablate.model.contrastive import ContrastiveModel
from ablate.model.methods.method import Method
from ablate.spec.base import Spec

Builder = Callable[[Any, ContrastiveModel, "Sizes", bool], Method]
B = TypeVar("B", bound=Builder)


@dataclass(frozen=True)
class Sizes:
    """``z``: dimension of the embedding; ``classes``: of the data."""

    z: int
    classes: int


BUILDERS: dict[type[Spec], Builder] = {}


def register_method(*spec_classes: type[Spec]) -> Callable[[B], B]:
    """Decorate the builder(spec, model, sizes, apart) of these classes. Raises ValueError if one has it."""

    def decorate(builder: B) -> B:
        for spec_class in spec_classes:
            if spec_class in BUILDERS:
                raise ValueError(f"{spec_class.__name__} already has a builder for its method")
            BUILDERS[spec_class] = builder
        return builder

    return decorate
