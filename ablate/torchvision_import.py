"""torchvision, importable beside a torch from another build.

Use it as ``from ablate.torchvision_import import torchvision``.

pip readily installs a CPU torch and a CUDA torchvision together. torchvision's compiled operators then
cannot be loaded, and its Python half still describes the shapes of two of them, ``nms`` and ``qnms``, so
``import torchvision`` ends with ``RuntimeError: operator torchvision::nms does not exist``. Only then are
the two operators declared here (names and argument types, no kernel) and the import tried again. Models and
datasets work; calling a compiled operator still fails, as it must. A matched pair is left as it is.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

_MISSING = "operator torchvision::nms does not exist"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []  # torch forgets the operators when their library is collected


def _import() -> ModuleType:
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
    _declare_operators()
    for name in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # what the failed import left behind
    return importlib.import_module("torchvision")


def _declare_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)


torchvision = _import()
