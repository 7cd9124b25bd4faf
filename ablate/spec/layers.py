"""A file laid over the one it ``extends``, and ``--set key=value`` laid over both.

Mappings are merged, the upper layer winning; lists and scalars are replaced. These are replaced whole rather
than merged: a section whose ``kind`` (or ``preset``) the upper layer changes, an entry of ``space``, an arm.
``space.KEY: null`` in an upper layer removes the entry. Strength of sparsity given as ``weight`` drops a
``shrink`` of the lower layer, and the other way round. A mapping given to ``--set`` replaces what was there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path as FilePath

from ablate.spec.errors import Mistake, Place, SpecError
from ablate.spec.paths import Path
from ablate.spec.yaml_file import Node, parse_yaml, read_yaml

_SWITCHES = ("kind", "preset")
_RIVALS = {"weight": "shrink", "shrink": "weight"}
_DOTTED = (  # mappings of dotted keys
    ("space",),
    ("space", None, "when"),
    ("confirm", "references", None),
    ("arms", "each", None),
    ("arms", "factors", None, None),
)


def read_layers(file: FilePath, overrides: Sequence[str]) -> tuple[Node, list[Mistake]]:
    """The merged tree and the mistakes found on the way; raises SpecError if ``file`` is no mapping."""
    tree, mistakes = _extended(file, ())
    if not isinstance(tree.value, dict):
        what = "the file is empty" if tree.value is None else "the file must be a mapping of keys to values"
        raise SpecError([*mistakes, Mistake(tree.place, what)])
    parsed = []
    for text in overrides:
        try:
            parsed.append(_parse_override(text, tree, mistakes))
        except SpecError as error:
            mistakes += error.mistakes
    given = {path for path, _ in parsed}
    for path, node in sorted(parsed, key=lambda item: (len(item[0]), item[0][-1] not in _SWITCHES)):
        tree = _put(tree, path, node, given)
    return tree, mistakes


def _extended(file: FilePath, above: tuple[FilePath, ...]) -> tuple[Node, list[Mistake]]:
    tree, mistakes = read_yaml(file)
    if not isinstance(tree.value, dict) or "extends" not in tree.value:
        return tree, mistakes
    rest = replace(tree, value={name: node for name, node in tree.value.items() if name != "extends"})
    extends = tree.value["extends"]
    if not isinstance(extends.value, str):
        return rest, [*mistakes, Mistake(extends.place, "extends: must be the path of one file")]
    other = file.parent / extends.value
    if other.resolve() in (f.resolve() for f in (*above, file)):
        chain = " -> ".join(str(f) for f in (*above, file, other))
        return rest, [*mistakes, Mistake(extends.place, f"extends: the files extend each other: {chain}")]
    if not other.is_file():
        return rest, [*mistakes, Mistake(extends.place, f"extends: there is no file {other}")]
    try:
        lower, more = _extended(other, (*above, file))
    except SpecError as error:
        return rest, [*mistakes, *error.mistakes]
    return _merge(lower, rest, ()), mistakes + more


def _merge(lower: Node, upper: Node, path: Path) -> Node:
    if not isinstance(lower.value, dict) or not isinstance(upper.value, dict):
        return upper
    if _is_entry(path) or _switched(lower.value, upper.value):
        return upper
    merged = dict(lower.value)
    for name, node in upper.value.items():
        if _RIVALS.get(name) not in upper.value and node.value is not None:
            merged.pop(_RIVALS.get(name, ""), None)
        if path == ("space",) and node.value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged[name], node, (*path, name)) if name in merged else node
    return replace(upper, value=merged)


def _is_entry(path: Path) -> bool:
    return (len(path) == 2 and path[0] == "space") or (len(path) == 3 and path[:2] == ("arms", "each"))


def _switched(lower: dict[str, Node], upper: dict[str, Node]) -> bool:
    """Whether ``upper`` makes the section another one, so that nothing of ``lower`` stays."""
    if "preset" in upper and "preset" not in lower:
        return True  # without a preset the lower layer named its constants one by one
    return any(
        name in upper and name in lower and upper[name].value != lower[name].value for name in _SWITCHES
    )


def _parse_override(text: str, tree: Node, mistakes: list[Mistake]) -> tuple[Path, Node]:
    here = Place(f"--set {text}")
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise SpecError([Mistake(here, "expected key=value with a dotted key, such as base.optim.lr=0.1")])
    node, found = parse_yaml(value, lambda line, column: here)  # noqa: ARG005
    mistakes += found
    return _path_of(key.split("."), tree), replace(node, key=here)


def _path_of(parts: list[str], tree: Node) -> Path:
    """Split a dotted key where the tree does: the keys of ``space`` themselves hold dots."""
    path: list[str | int] = []
    node: Node | None = tree
    while parts:
        names = list(node.value) if node is not None and isinstance(node.value, dict) else []
        fits = [n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in names]
        count = fits[0] if fits else len(parts) if _holds_dotted(tuple(path)) else 1
        name = ".".join(parts[:count])
        path.append(name)
        node = node.value[name] if fits and node is not None else None
        parts = parts[count:]
    return tuple(path)


def _holds_dotted(path: Path) -> bool:
    return any(
        len(path) == len(shape) and all(s is None or s == p for s, p in zip(shape, path, strict=True))
        for shape in _DOTTED
    )


def _put(tree: Node, path: Path, node: Node, given: set[Path], at: Path = ()) -> Node:
    """``tree`` with ``node`` at ``path``; sections on the way are made if absent."""
    name, *rest = path
    below = dict(tree.value) if isinstance(tree.value, dict) else {}
    if rest:
        old = below.get(str(name), Node(node.place, None, node.key))
        below[str(name)] = _put(old, tuple(rest), node, given, (*at, name))
    elif at == ("space",) and node.value is None:
        below.pop(str(name), None)
    else:
        if _switched(below, {str(name): node}):
            below = {}
        rival = _RIVALS.get(str(name))
        if rival is not None and (*at, rival) not in given and node.value is not None:
            below.pop(rival, None)
        below[str(name)] = node
    return replace(tree, value=below)
