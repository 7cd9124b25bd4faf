"""YAML 1.2 with positions: a tree of values, each knowing where it and its key were read."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.nodes import Node as YamlNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.representer import SafeRepresenter

from ablate.spec.errors import Mistake, Place, SpecError
from ablate.spec.paths import Path

_CORE = "tag:yaml.org,2002:"
_SCALARS: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,  # noqa: ARG005
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": lambda text: int(text, 0) if text.lstrip("+-").startswith(("0x", "0o")) else int(text),
    "float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    "str": lambda text: _join_surrogates(text),
    "timestamp": str,
}


@dataclass(frozen=True)
class Node:
    """A value: a scalar, a list of nodes, or a mapping from text to nodes."""

    place: Place
    value: Any
    key: Place | None = None  # of the key that names it

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        return [node.plain() for node in self.value] if isinstance(self.value, list) else self.value

    def locate(self, path: Path, *, at_key: bool = False) -> Place:
        """The place to report a mistake at: of the value if it is a scalar or list, else of its key.

        Where ``path`` leads to nothing, the nearest thing above it.
        """
        node = self
        for step in path:
            below = node._step(step)
            if below is None:
                return node.key or node.place
            node = below
        named = at_key or isinstance(node.value, dict)
        return node.key if named and node.key is not None else node.place

    def _step(self, step: str | int) -> Node | None:
        if isinstance(self.value, dict):
            return self.value.get(step)
        if isinstance(self.value, list) and isinstance(step, int) and step < len(self.value):
            return self.value[step]  # type: ignore[no-any-return]
        return None


def read_yaml(file: FilePath) -> tuple[Node, list[Mistake]]:
    """Read one document. Mistakes that leave the rest readable (a duplicate key) are returned beside it.

    Raises SpecError if the file cannot be read or is not YAML.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError([Mistake(Place(str(file)), f"not UTF-8 text: {error.reason}")]) from None
    except OSError as error:
        raise SpecError([Mistake(Place(str(file)), f"cannot be read: {error.strerror or error}")]) from None
    return parse_yaml(text, lambda line, column: Place(str(file), line + 1, column + 1))


def parse_yaml(text: str, place: Callable[[int, int], Place]) -> tuple[Node, list[Mistake]]:
    """The same for text; ``place`` makes a Place of a line and column, both from 0."""
    mistakes: list[Mistake] = []
    root: YamlNode | None
    try:
        root = YAML(typ="safe", pure=True).compose(io.StringIO(text))
        if root is None:
            return Node(place(0, 0), None), mistakes
        return _convert(root, place, mistakes), mistakes
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = place(mark.line, mark.column) if mark is not None else place(0, 0)
        what = ": ".join(part for part in (error.context, error.problem) if part)
        raise SpecError([Mistake(at, f"not YAML: {what}")]) from None
    except ReaderError as error:
        before = text[: error.position]
        at = place(before.count("\n"), len(before) - before.rfind("\n") - 1)
        raise SpecError([Mistake(at, f"not YAML: {error.reason}")]) from None
    except RecursionError:
        what = "nested too deeply, or an anchor holds itself"
        raise SpecError([Mistake(place(0, 0), f"not YAML: {what}")]) from None
    except YAMLError as error:
        raise SpecError([Mistake(place(0, 0), f"not YAML: {error}")]) from None


class _Representer(SafeRepresenter):
    """Quotes text that is more than plain words: ruamel.yaml does not read back every text it leaves bare."""

    def represent_text(self, text: str) -> ScalarNode:
        style = None if re.fullmatch(r"[A-Za-z0-9_. /-]+", text) else '"'
        return self.represent_scalar(f"{_CORE}str", text, style=style)


_Representer.add_representer(str, _Representer.represent_text)


def dump_yaml(value: Any) -> str:
    """YAML that reads back to the same plain value; short lists on one line."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = None
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 100
    out = io.StringIO()
    yaml.dump(value, out)
    return out.getvalue()


def _convert(
    node: YamlNode, place: Callable[[int, int], Place], mistakes: list[Mistake], key: Place | None = None
) -> Node:
    at = place(node.start_mark.line, node.start_mark.column)
    if isinstance(node, ScalarNode):
        return Node(at, _scalar(node, at, mistakes), key)
    if isinstance(node, SequenceNode):
        return Node(at, [_convert(item, place, mistakes) for item in node.value], key)
    assert isinstance(node, MappingNode)
    mapping: dict[str, Node] = {}
    for name_node, value_node in node.value:
        name_at = place(name_node.start_mark.line, name_node.start_mark.column)
        if not isinstance(name_node, ScalarNode):
            mistakes.append(Mistake(name_at, "a key must be text"))
            continue
        name = name_node.value
        if name in mapping:
            first = mapping[name].key
            mistakes.append(Mistake(name_at, f"{name}: duplicate key; it was first given at {first}"))
            continue
        mapping[name] = _convert(value_node, place, mistakes, name_at)
    return Node(at, mapping, key)


def _join_surrogates(text: str) -> str:
    """JSON writes a character beyond 16 bits as two escapes, which YAML leaves apart."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _scalar(node: ScalarNode, at: Place, mistakes: list[Mistake]) -> Any:
    kind = str(node.tag).removeprefix(_CORE)
    try:
        return _SCALARS[kind](str(node.value))
    except (KeyError, ValueError):
        mistakes.append(Mistake(at, f"cannot read {node.value!r} as {kind}; quote it if it is text"))
        return None
