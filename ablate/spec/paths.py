"""Dotted keys (``head.sparsity.shrink``) against the models: what they can mean, and what they may hold.

A section is a nested model. Where a section is a union of kinds, a key means one thing in each kind that has
it, so that :func:`slots` returns several.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Tag, create_model
from pydantic.fields import FieldInfo

from ablate.spec.base import Spec

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Slot:
    """One meaning of a dotted key: field ``name`` of the last of ``owners``, the models on the way to it."""

    owners: tuple[type[Spec], ...]
    name: str

    @property
    def owner(self) -> type[Spec]:
        return self.owners[-1]

    @property
    def field(self) -> FieldInfo:
        return self.owner.model_fields[self.name]

    @property
    def sections(self) -> tuple[type[Spec], ...]:
        """The models this field may hold; empty for a plain value."""
        return members(self.field.annotation)

    @property
    def holder(self) -> type[Spec]:
        """A model whose only field, ``value``, is this one."""
        return _holder(self.owner, self.name)

    def value(self, raw: Any) -> Any:
        """The checked value of this field alone; raises pydantic's ValidationError, located in ``holder``."""
        return self.holder.model_validate({"value": raw}).value  # type: ignore[attr-defined]


def slots(model: type[Spec], key: str) -> list[Slot]:
    """Every meaning of ``key`` under ``model``; empty if it has none."""
    chains: list[tuple[type[Spec], ...]] = [(model,)]
    *sections, last = key.split(".")
    for name in sections:
        holders = [c for c in chains if name in c[-1].model_fields]
        chains = [(*c, m) for c in holders for m in members(_annotation(c[-1], name))]
    return [Slot(c, last) for c in chains if last in c[-1].model_fields]


def section(model: type[Spec], key: str) -> tuple[type[Spec], ...]:
    """The models that the section ``key`` may be (``""``: ``model`` itself); empty if it is not a section."""
    if not key:
        return (model,)
    return tuple(dict.fromkeys(m for slot in slots(model, key) for m in slot.sections))


def keys(model: type[Spec], prefix: str = "") -> Iterator[str]:
    """Every dotted key under ``model``, sections included, each once for every kind that has it."""
    for name in model.model_fields:
        yield f"{prefix}{name}"
        for member in members(_annotation(model, name)):
            yield from keys(member, f"{prefix}{name}.")


def members(annotation: Any) -> tuple[type[Spec], ...]:
    """The models among the alternatives of a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return (annotation,)
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(m for part in get_args(annotation) for m in members(part))
    return ()


def kinds(model: type[Spec]) -> tuple[str, ...]:
    """The values of ``kind`` that choose ``model``; empty if it has no kind."""
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field is not None and get_origin(field.annotation) is Literal else ()


def of_kind(models: Sequence[type[Spec]], kind: Any) -> type[Spec] | None:
    """The model among ``models`` that ``kind`` chooses."""
    return next((m for m in models if kind in kinds(m)), None)


def defaults(model: type[Spec]) -> dict[str, Any]:
    """Plain values of the fields of ``model`` that have a default."""
    fields = {name: f for name, f in model.model_fields.items() if not f.is_required()}
    return {name: _plain(field.get_default(call_default_factory=True)) for name, field in fields.items()}


def untag(model: type[Spec], loc: tuple[str | int, ...]) -> tuple[Path, type[Spec] | None]:
    """Turn pydantic's error location into a path in the file, without the tags of unions.

    Also returns the model that holds the last element, if it is a model that holds it.
    """
    path: list[str | int] = []
    here: Any = model
    rest = list(loc)
    owner: type[Spec] | None = model
    while rest:
        step = rest.pop(0)
        path.append(step)
        owner = here if isinstance(here, type) and issubclass(here, Spec) else None
        if owner is None:
            here = _item(here)
        else:
            field = owner.model_fields.get(str(step))
            here = field.annotation if field is not None else None
        here, tags = _alternatives(here)
        if tags is not None and rest:
            here = tags.get(str(rest.pop(0)))
    return tuple(path), owner


def _annotation(model: type[Spec], name: str) -> Any:
    return model.model_fields[name].annotation


def _plain(value: Any) -> Any:
    if isinstance(value, Spec):
        return value.as_dict()
    return list(value) if isinstance(value, tuple) else value


def _item(annotation: Any) -> Any:
    """What a list or mapping of this type holds."""
    args = [a for a in get_args(annotation) if a is not Ellipsis]
    return args[-1] if args else None


def _alternatives(annotation: Any) -> tuple[Any, dict[str, type[Spec]] | None]:
    """Strip Annotated and ``| None``. For a union: models by the tag that pydantic puts in locations."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) not in (Union, UnionType):
        return annotation, None
    parts = [a for a in get_args(annotation) if a is not NoneType]
    if len(parts) == 1:
        return _alternatives(parts[0])
    return annotation, {tag: m for part in parts for m in members(part) for tag in _tags(part, m)}


def _tags(part: Any, model: type[Spec]) -> tuple[str, ...]:
    named = [a.tag for a in get_args(part)[1:] if isinstance(a, Tag)] if get_origin(part) is Annotated else []
    return tuple(named) or kinds(model)


@cache
def _holder(owner: type[Spec], name: str) -> type[Spec]:
    field = owner.model_fields[name]
    return create_model("Value", __base__=Spec, value=(field.annotation, field))  # type: ignore[arg-type]
