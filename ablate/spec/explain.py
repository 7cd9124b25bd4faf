"""What pydantic found wrong, in words: what was found, what is allowed, and the nearest valid key."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ablate.spec.base import Spec
from ablate.spec.paths import Path, keys, kinds, section, untag
from ablate.spec.views import ViewSpec

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
}
_LIMITS = (("gt", "above"), ("ge", "at least"), ("lt", "below"), ("le", "at most"))


@dataclass(frozen=True)
class Finding:
    """A mistake before it has a place: ``path`` leads to the value or, with ``at_key``, names the key."""

    path: Path
    message: str
    at_key: bool = False

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.message}" if self.path else self.message


def dotted(path: Path) -> str:
    """``("search", "rungs", 0)`` as ``search.rungs[0]``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def explain(error: ValidationError, model: type[Spec], raw: Any) -> list[Finding]:
    """Every mistake of ``raw`` as read for ``model``."""
    located = [(*untag(model, e["loc"]), e) for e in error.errors(include_url=False)]
    findings = []
    for path, owner, detail in located:
        same = [e for other, _, e in located if other == path]  # one for each alternative of a union
        findings.append(_one(path, owner, detail, same, model, raw))
    return list(dict.fromkeys(findings))


def show(value: Any) -> str:
    """A value as it would be written in YAML, shortly."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(show, value))}]"
    return repr(value)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """``; did you mean 'depth'?`` or nothing."""
    close = get_close_matches(name, list(allowed), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def unknown_key(name: str, allowed: Iterable[str], elsewhere: Iterable[str] = ()) -> str:
    """The message for a key that is not among ``allowed``; ``elsewhere`` are dotted keys it may belong to."""
    names = list(allowed)
    hint = nearest(name, names)
    if not hint:
        longer = next((key for key in elsewhere if key.rpartition(".")[2] == name), None)
        hint = f"; did you mean {longer!r}?" if longer else ""
    return f"unknown key{hint} (allowed: {', '.join(names)})"


def _one(
    path: Path,
    owner: type[Spec] | None,
    detail: ErrorDetails,
    same: list[ErrorDetails],
    model: type[Spec],
    raw: Any,
) -> Finding:
    kind, found, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "wrong":
        at = tuple(steps(context["at"], raw, path))
        return Finding((*path, *at), context["message"])
    if kind == "extra_forbidden":
        return Finding(path, _extra(path, owner, model), at_key=True)
    if kind == "missing":
        return Finding(path[:-1], _missing(path[-1], owner))
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_kind(path, kind, found, model)
    if kind == "distribution":
        given = f"found {', '.join(found)}" if isinstance(found, dict) and found else f"found {show(found)}"
        return Finding(path, f"needs exactly one of choice, int, float; {given}")
    if kind == "literal_error":
        return Finding(path, _literal(found, context["expected"]))
    if kind in ("too_short", "too_long"):
        bound = (
            f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        )
        return Finding(path, f"found {show(found)}, must hold {bound}")
    if kind in _EXPECTED:
        wanted = list(dict.fromkeys(_EXPECTED[e["type"]] for e in same if e["type"] in _EXPECTED))
        return Finding(
            path, f"found {show(found)}, expected {' or '.join(wanted)}{_range(owner, path, ': ')}"
        )
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        limits = _range(owner, path, "") or " and ".join(
            f"{w} {context[k]}" for k, w in _LIMITS if k in context
        )
        return Finding(path, f"found {show(found)}, must be {limits}")
    return Finding(path, _other(detail, owner, path))


def _extra(path: Path, owner: type[Spec] | None, model: type[Spec]) -> str:
    name = str(path[-1])
    if owner is None:
        return "unknown key"
    allowed = [*(["preset"] if owner is ViewSpec else []), *owner.model_fields]
    siblings = section(model, ".".join(map(str, path[:-1])))
    others = [k for m in siblings if m is not owner and name in m.model_fields for k in kinds(m)]
    own = kinds(owner)
    if others and own:
        return (
            f"not a key of kind {'/'.join(own)}, but of {', '.join(others)} (allowed: {', '.join(allowed)})"
        )
    return unknown_key(name, allowed, keys(owner))


def _missing(name: str | int, owner: type[Spec] | None) -> str:
    if isinstance(name, int):
        return f"the list is too short: it holds {name} values"
    field = owner.model_fields.get(name) if owner is not None else None
    about = f" ({field.description})" if field is not None and field.description else ""
    return f"missing key {name!r}{about}"


def _wrong_kind(path: Path, kind: str, found: Any, model: type[Spec]) -> Finding:
    names = [k for m in section(model, ".".join(map(str, path))) for k in kinds(m)]
    allowed = f" (allowed: {', '.join(names)})" if names else ""
    if kind == "union_tag_not_found":
        return Finding(path, f"missing key 'kind'{allowed}")
    value = found.get("kind") if isinstance(found, dict) else found
    return Finding((*path, "kind"), f"unknown kind {show(value)}{nearest(str(value), names)}{allowed}")


def _literal(found: Any, expected: str) -> str:
    names = re.findall("'([^']*)'", expected)
    return f"found {show(found)}{nearest(str(found), names)} (allowed: {', '.join(names)})"


def _range(owner: type[Spec] | None, path: Path, prefix: str) -> str:
    """``: at least 1 and at most 8`` from the constraints of the field at ``path``."""
    field = owner.model_fields.get(str(path[-1])) if owner is not None and path else None
    limits = {
        k: getattr(m, k)
        for m in (field.metadata if field is not None else ())
        for k, _ in _LIMITS
        if hasattr(m, k)
    }
    text = " and ".join(f"{words} {limits[k]}" for k, words in _LIMITS if k in limits)
    return f"{prefix}{text}" if text else ""


def _other(detail: ErrorDetails, owner: type[Spec] | None, path: Path) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error":
        return message
    field = owner.model_fields.get(str(path[-1])) if owner is not None and path else None
    about = f" ({field.description})" if field is not None and field.description else ""
    found = "" if isinstance(detail["input"], dict) else f"found {show(detail['input'])}; "
    return f"{found}{message[:1].lower()}{message[1:]}{about}"


def steps(at: str, raw: Any, path: Path = ()) -> list[str | int]:
    """Split the dotted ``at``, which begins at ``path``, where ``raw`` does: some keys hold dots."""
    here = raw
    for step in path:
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            break
    found: list[str | int] = []
    parts = at.split(".") if at else []
    while parts:
        if isinstance(here, list) and parts[0].isdigit() and int(parts[0]) < len(here):
            place = int(parts.pop(0))
            found.append(place)
            here = here[place]
            continue
        names = here if isinstance(here, dict) else {}
        count = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in names), 1)
        name = ".".join(parts[:count])
        found.append(name)
        here = names.get(name)
        parts = parts[count:]
    return found
