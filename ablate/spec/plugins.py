"""Kinds that other packages bring: found by entry point, and taken up beside the built-in ones.

A package declares a projection head, say, as::

    [project.entry-points."ablate.heads"]
    gated = "my_package.spec:GatedHead"

The groups are ablate.encoders, .heads, .methods, .losses and .sources. The class is a ``Spec`` with a field
``kind: Literal["gated"]`` and ``implementation: ClassVar[str]``, the module that registers what it describes,
imported when it is first needed. Its own module may import, of ours, the modules base, data, encoder, head,
loss and method of ``ablate.spec`` and no more: it is read whenever a file is. docs/extending.md shows it all.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args

from ablate.spec.base import Spec
from ablate.spec.data import Source
from ablate.spec.paths import kinds, members

T = TypeVar("T")

GROUPS = ("ablate.encoders", "ablate.heads", "ablate.methods", "ablate.losses", "ablate.sources")


def _names_kinds(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(kind, str) for kind in value)


# What a class of each group must have besides: the attribute, what it must be, and how to say so.
_NAMES = "a ClassVar[tuple[str, ...]] of kinds"
_REQUIRED: dict[str, tuple[str, Callable[[Any], bool], str]] = {
    "ablate.encoders": ("features", callable, "needs a method features(size: int) -> int, the width of h"),
    "ablate.losses": ("methods", _names_kinds, f"needs methods, {_NAMES}: the methods that it goes with"),
    "ablate.methods": ("losses", _names_kinds, f"needs losses, {_NAMES} that go with it, its own first"),
}


class PluginError(Exception):
    """An installed plugin cannot be used; the message names its package and entry point."""


def with_plugins(union: Any, group: str) -> Any:
    """The discriminated ``union`` of specs with the classes that entry points of ``group`` name.

    Raises PluginError for a class that cannot be imported, is no spec of its kind, or whose kind is taken.
    """
    found = plugins(group)
    taken = {kind for model in members(union) for kind in kinds(model)}
    for model in found:
        if twice := sorted(taken & set(kinds(model))):
            raise PluginError(
                f"{where(model)}: kind {twice[0]!r} is taken; rename it, or uninstall its package"
            )
        taken |= set(kinds(model))
    if not found:
        return union
    plain, *rest = get_args(union)
    return Annotated[(Union[(plain, *found)], *rest)]


def plugins(group: str) -> tuple[type[Spec], ...]:
    """The classes that installed packages bring to ``group``, in the order of their kinds."""
    return tuple(model for _, model in _loaded(group))


def where(model: type[Spec]) -> str:
    """The package and entry point that a plugin's class is from, in words."""
    known = (words for group in GROUPS for words, found in _loaded(group) if found is model)
    return next(known, f"{model.__module__}:{model.__name__}")


@cache
def _loaded(group: str) -> tuple[tuple[str, type[Spec]], ...]:
    """Classes, and where they are from."""
    found = sorted(_entry_points().get(group, []), key=lambda point: (point.name, point.value))
    return tuple((_where(point), _load(point)) for point in found)


@cache
def _entry_points() -> dict[str, list[EntryPoint]]:
    installed = entry_points()
    return {group: list(installed.select(group=group)) for group in GROUPS}


def _load(point: EntryPoint) -> type[Spec]:
    try:
        model = point.load()
    except Exception as error:
        raise PluginError(
            f"{_where(point)}: cannot be imported: {type(error).__name__}: {error}. Mend it, or uninstall "
            "its package"
        ) from error
    if (problem := _problem(model, point)) is not None:
        raise PluginError(f"{_where(point)}: {problem}")
    return model  # type: ignore[no-any-return]


def _where(point: EntryPoint) -> str:
    package = point.dist.name if point.dist is not None else "unknown"
    return f"plugin {package}, entry point {point.name} = {point.value!r} of {point.group}"


def _problem(model: Any, point: EntryPoint) -> str | None:
    if not (isinstance(model, type) and issubclass(model, Spec)):
        return f"is {model!r}, not a subclass of ablate.spec.base.Spec"
    if point.name not in kinds(model):
        has = f"of {', '.join(kinds(model))}" if kinds(model) else "it has no such field"
        return f"needs kind: Literal[{point.name!r}], as the entry point is named; {has}"
    if not isinstance(getattr(model, "implementation", None), str):
        return "needs implementation: ClassVar[str], the module that registers what it describes"
    if point.group == "ablate.sources" and not issubclass(model, Source):
        return "must derive from ablate.spec.data.SeededValidation or OwnValidation, as every source does"
    if point.group in _REQUIRED:
        name, right, words = _REQUIRED[point.group]
        return None if right(getattr(model, name, None)) else words
    return None


def registered(table: Mapping[type[Spec], T], spec_class: type[Spec], sort: str) -> T:
    """What ``table`` holds for a class of spec; a plugin's implementation is imported if it holds nothing.

    Raises PluginError if that import fails, TypeError, naming what is registered, if it still holds nothing.
    """
    module = getattr(spec_class, "implementation", None)
    if spec_class not in table and module is not None:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise PluginError(
                f"{where(spec_class)}: its implementation {module} cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error
    if spec_class not in table:
        known = ", ".join(sorted(c.__name__ for c in table))
        after = f" by {module}" if module is not None else ""
        raise TypeError(f"no {sort} is registered for {spec_class.__name__}{after}; registered: {known}")
    return table[spec_class]


def plugins_in_use(spec: Spec) -> tuple[type[Spec], ...]:
    """The plugins' classes whose kind is named anywhere in ``spec``, a trial or a sweep."""
    named = set(_texts(spec.as_dict()))
    return tuple(model for group in GROUPS for model in plugins(group) if named & set(kinds(model)))


def _texts(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    for below in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _texts(below)


def source_files(model: type[Spec]) -> list[Path]:
    """The Python files of a plugin: all of the top packages that its class and implementation lie in.

    Raises PluginError if the implementation is nowhere to be found.
    """
    modules = (model.__module__, str(getattr(model, "implementation", model.__module__)))
    return sorted({file for module in modules for file in _files(model, module)})


def _files(model: type[Spec], module: str) -> list[Path]:
    """A namespace package is no one's own: the first regular package below it, or module, is taken."""
    names = module.split(".")
    for depth in range(1, len(names) + 1):
        try:
            found = importlib.util.find_spec(".".join(names[:depth]))
        except ImportError:
            found = None
        if found is None:
            raise PluginError(f"{where(model)}: there is no module {'.'.join(names[:depth])}")
        if found.origin is not None:
            file = Path(found.origin)
            return sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    return []
