"""The kinds of each part of a trial, and what goes with what: built-in ones and those of plugins together.

Apart from the modules that define the built-in kinds, so that a plugin can import those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ablate.spec import data, encoder, head, loss, method
from ablate.spec.paths import kinds, members
from ablate.spec.plugins import PluginError, plugins, where, with_plugins
from ablate.spec.views import VIEW_PRESETS

if TYPE_CHECKING:
    from ablate.spec.data import DataSpec
    from ablate.spec.encoder import EncoderSpec
    from ablate.spec.head import HeadSpec
    from ablate.spec.loss import LossSpec
    from ablate.spec.method import MethodSpec
else:
    DataSpec = with_plugins(data.DataSpec, "ablate.sources")
    EncoderSpec = with_plugins(encoder.EncoderSpec, "ablate.encoders")
    HeadSpec = with_plugins(head.HeadSpec, "ablate.heads")
    LossSpec = with_plugins(loss.LossSpec, "ablate.losses")
    MethodSpec = with_plugins(method.MethodSpec, "ablate.methods")

__all__ = [
    "HEADS_WITHOUT_WEIGHTS",
    "LOSSES_OF_METHOD",
    "METHODS_OF_INNER",
    "PRESET_OF_SOURCE",
    "SOURCES_WITH_ALTERNATES",
    "DataSpec",
    "EncoderSpec",
    "HeadSpec",
    "LossSpec",
    "MethodSpec",
]


def _having(group: str, attribute: str, *, default: bool) -> tuple[str, ...]:
    """Kinds of plugins whose class says ``attribute: ClassVar[bool]`` unlike ``default``."""
    odd = (model for model in plugins(group) if getattr(model, attribute, default) != default)
    return tuple(kind for model in odd for kind in kinds(model))


def _losses_of_method() -> dict[str, tuple[str, ...]]:
    """The method's own loss first."""
    found = dict(method.LOSSES_OF_METHOD)
    for model in plugins("ablate.methods"):
        found |= dict.fromkeys(kinds(model), tuple(getattr(model, "losses", ())))
    losses = {kind for model in members(LossSpec) for kind in kinds(model)}
    for name, allowed in found.items():
        if unknown := sorted(set(allowed) - losses):
            raise PluginError(f"method {name!r} goes with loss {unknown[0]!r}, which there is not")
    for model in plugins("ablate.losses"):
        for name in getattr(model, "methods", ()):
            if name not in found:
                raise PluginError(
                    f"{where(model)}: goes with method {name!r}, which there is not (there are: "
                    f"{', '.join(found)})"
                )
            found[name] = tuple(dict.fromkeys((*found[name], *kinds(model))))
    return found


def _presets() -> dict[str, str]:
    """The views of a source that says nothing are those of small photos."""
    found = dict(data.PRESET_OF_SOURCE)
    for model in plugins("ablate.sources"):
        preset = getattr(model, "preset", "photos-32")
        if preset not in VIEW_PRESETS:
            raise PluginError(f"{where(model)}: preset {preset!r} is none of {', '.join(VIEW_PRESETS)}")
        found |= dict.fromkeys(kinds(model), preset)
    return found


LOSSES_OF_METHOD = _losses_of_method()
METHODS_OF_INNER = (*method.METHODS_OF_INNER, *_having("ablate.methods", "inner", default=False))
HEADS_WITHOUT_WEIGHTS = (*head.HEADS_WITHOUT_WEIGHTS, *_having("ablate.heads", "trained", default=True))
PRESET_OF_SOURCE = _presets()
SOURCES_WITH_ALTERNATES = (
    *data.SOURCES_WITH_ALTERNATES,
    *_having("ablate.sources", "alternates", default=False),
)
