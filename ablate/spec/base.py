"""The common base of everything a YAML file may say: frozen, strict, and closed to unknown keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class Spec(BaseModel):
    """A value: hashable, never changed after it is made, never converted from another type."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    def as_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and scalars, every default written out, ``kind`` first."""
        return _kind_first(self.model_dump(mode="json"))


def _kind_first(tree: dict[str, Any]) -> dict[str, Any]:
    # A mapping of names may hold one called "kind", and the order of levels and arms has a meaning.
    ordered = {"kind": tree["kind"], **tree} if isinstance(tree.get("kind"), str) else tree
    return {k: _kind_first(v) if isinstance(v, dict) else v for k, v in ordered.items()}


def wrong(at: str, message: str) -> PydanticCustomError:
    """A mistake that a validator found, placed at the dotted key ``at`` below the model it validates."""
    return PydanticCustomError("wrong", "{at}: {message}", {"message": message, "at": at})


def flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ``("head.margin.angular", value)`` pairs of a nested mapping, in its own order."""
    for key, value in tree.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, dict):
            yield from flatten(value, path)
        else:
            yield path, value
