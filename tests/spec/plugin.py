"""The module of an installed package, with classes that can be plugins and classes that cannot."""

from collections.abc import Callable
from pathlib import Path

GOOD = """\
from typing import ClassVar, Literal
from ablate.spec.base import Spec
from ablate.spec.data import SeededValidation

class Wavy(Spec):
    kind: Literal["wavy"] = "wavy"
    implementation: ClassVar[str] = "wavy_net"

class Taken(Spec):
    kind: Literal["mlp"] = "mlp"
    implementation: ClassVar[str] = "wavy_net"

class Kindless(Spec):
    implementation: ClassVar[str] = "wavy_net"

class Bare(Spec):
    kind: Literal["bare"] = "bare"

class Loss(Wavy):
    methods: ClassVar[tuple[str, ...]] = ("simclr",)

class OddLoss(Wavy):
    methods: ClassVar[str] = "simclr"

class Encoder(Wavy):
    def features(self, size: int) -> int:
        return size

class Data(SeededValidation):
    kind: Literal["wavy"] = "wavy"
    implementation: ClassVar[str] = "wavy_net"

something = 3
"""

Install = Callable[..., Path]
