"""What was set differently in the sweeps, and by what code and on what their trials were run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ablate.report.compare.side import Side
from ablate.spec.base import flatten

ABSENT = "-"
_ABOUT = {
    "data": "the images",
    "base": "what a trial is",
    "arms": "what is compared",
    "space": "what is tuned",
    "search": "how it is searched",
    "confirm": "how it is confirmed",
    "resources": "what it runs on",
}


@dataclass(frozen=True)
class Setting:
    """A dotted key of the resolved sweeps and its value in each, as YAML would show it; "-": it is not
    there. ``part`` is that of ``ABOUT`` to which it belongs."""

    part: str
    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Origin:
    """Something that the numbers depend on beside the settings, and what it was in each sweep."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


def settings(sides: Sequence[Side]) -> tuple[Setting, ...]:
    """Every setting that is not the same in all sweeps, in the order of the file."""
    flat = [_flat(side.sweep) for side in sides]
    keys = dict.fromkeys(key for each in flat for key in each)
    ordered = sorted(keys, key=lambda key: list(_ABOUT).index(_part(key)))
    found = [
        Setting(_part(key), key, tuple(_show(each, key) for each in flat))
        for key in ordered
        if len({json.dumps(each.get(key, ...), default=repr) for each in flat}) > 1
    ]
    return tuple(found)


def about(part: str) -> str:
    """What the settings of a part say."""
    return _ABOUT[part]


def origins(sides: Sequence[Side]) -> tuple[Origin, ...]:
    """Code, libraries and machine of the confirmation trials, as far as they are recorded."""
    names = {
        "code": "code",
        "libraries": "libraries",
        "device": "device",
        "machine": "machine",
        "workers": "workers a trial",
        "threads": "threads",
    }
    return tuple(
        Origin(
            name,
            tuple(
                " / ".join(sorted({str(getattr(made, field)) for made in side.made.values()}))
                or "not recorded"
                for side in sides
            ),
        )
        for field, name in names.items()
    )


def _flat(sweep: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys and values; an entry of the space and the changes of an arm are one value each."""
    found: dict[str, Any] = {}
    for part in ("base", "search", "confirm", "resources"):
        found |= dict(flatten(sweep[part] or {}, part))
    for key, entry in sweep["space"].items():
        found[f"space.{key}"] = {name: value for name, value in entry.items() if value is not None}
    for name, value in (sweep["arms"] or {}).items():
        if isinstance(value, dict):
            found |= {f"arms.{name}.{arm}": changes for arm, changes in value.items()}
        else:
            found[f"arms.{name}"] = value
    return found


def _part(key: str) -> str:
    return "data" if key.startswith("base.data.") else key.partition(".")[0]


def _show(flat: dict[str, Any], key: str) -> str:
    if key not in flat:
        return ABSENT
    value = flat[key]
    return value if isinstance(value, str) else _yaml(value)


def _yaml(value: Any) -> str:
    """On one line, as in a YAML file."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {_yaml(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    return value if isinstance(value, str) else json.dumps(value)
