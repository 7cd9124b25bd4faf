"""Which method goes with which loss, margin, head and inner loop, asked of the specs themselves.

A trial is one choice along each axis. The axes hang together in pairs only (method with margin, method with
inner loop, head with penalty, ...), so tables of pairs say everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from ablate.spec.explain import explain
from ablate.spec.parts import HeadSpec, MethodSpec
from ablate.spec.paths import kinds, members
from ablate.spec.trial import TrialSpec

Section = dict[str, Any]

# What a kind must be told besides its name.
_NEEDED: dict[str, Section] = {
    "directclr": {"subvector": 4},
    "random-subvector": {"subvector": 4},
    "low-rank": {"rank": 4},
    "reweighting": {"kappa": 1.5},
    "frozen": {"path": "artifacts", "digest": "0" * 16},
}
_SMALL: dict[str, Section] = {"moco-v2": {"queue": 64}}

MARGINS: dict[str, Section] = {
    "no margin": {},
    "angular": {"angular": 0.2},
    "subtractive": {"subtractive": 0.2},
    "emphasis alone": {"effect": "emphasis", "emphasis": 2.0},
    "angle alone": {"effect": "angle", "angular": 0.2},
    "probability alone": {"effect": "probability", "subtractive": 0.2},
    "angle and probability": {"effect": "angle-and-probability", "angular": 0.2, "subtractive": 0.2},
}
PENALTIES: dict[str, Section | None] = {
    "no penalty": None,
    "l1": {"penalty": "l1", "weight": 1e-3},
    "l1, gradient": {"penalty": "l1", "weight": 1e-3, "step": "gradient"},
    "l21": {"penalty": "l21", "weight": 1e-3},
    "l21, scale-free": {"penalty": "l21", "weight": 1e-3, "scale_free": True, "step": "gradient"},
    "l21, by shrink": {"penalty": "l21", "shrink": 0.1},
    "l21-out": {"penalty": "l21-out", "weight": 1e-3},
    "l21, uniform": {"penalty": "l21", "weight": 1e-3, "step": "uniform"},
    "l2": {"penalty": "l2", "weight": 1e-3},
    "hoyer": {"penalty": "hoyer", "weight": 1e-3, "step": "gradient"},
}
INNER: dict[str, Section | None] = {
    "joint": None,
    "inner steps": {"steps": 1, "batch": "same"},
}


def methods() -> dict[str, Section]:
    """Every method by its kind, with what it needs to be small."""
    return _sections(MethodSpec, _SMALL)


def heads() -> dict[str, Section]:
    """Every projection head by its kind."""
    return _sections(HeadSpec, _NEEDED)


def trial(
    method: Section, head: Section, margin: Section, penalty: Section | None, inner: Section | None
) -> Section:
    """The sections of a small trial; not yet known to be valid."""
    return {
        "data": {"kind": "digits"},
        "encoder": {"kind": "tiny-resnet", "width": 8, "blocks": [1]},
        "method": method,
        "head": head | ({"sparsity": penalty} if penalty else {}),
        "loss": {"margin": margin} if margin else {},
        "inner": inner,
        "optim": {"kind": "sgd", "lr": 0.01, "epochs": 1, "batch": 16, "warmup_epochs": 0.0},
    }


def refusal(sections: Section) -> str | None:
    """Why the trial is not valid, as the user is told; None if it is."""
    try:
        TrialSpec.model_validate(sections)
    except ValidationError as error:
        return "; ".join(map(str, explain(error, TrialSpec, sections)))
    return None


def all_trials() -> Iterator[tuple[tuple[str, ...], Section]]:
    """Every combination, valid or not, by the names of its five choices."""
    for method, m in methods().items():
        for head, h in heads().items():
            for margin, g in MARGINS.items():
                for penalty, p in PENALTIES.items():
                    for inner, i in INNER.items():
                        yield (method, head, margin, penalty, inner), trial(m, h, g, p, i)


def tables() -> str:
    """Markdown: what goes with what, and in the words of the refusal why not."""
    simclr, mlp = {"kind": "simclr"}, {"kind": "mlp"}
    parts = [
        _table("Method", methods(), "projection head", heads(), lambda m, h: trial(m, h, {}, None, None)),
        _table("Method", methods(), "margin", MARGINS, lambda m, g: trial(m, mlp, g, None, None)),
        _table("Projection head", heads(), "penalty", PENALTIES, lambda h, p: trial(simclr, h, {}, p, None)),
        _table("Method", methods(), "head's steps", INNER, lambda m, i: trial(m, mlp, {}, None, i)),
        _table("Projection head", heads(), "head's steps", INNER, lambda h, i: trial(simclr, h, {}, None, i)),
    ]
    return "\n\n".join(parts)


def _table(
    of: str, rows: Mapping[str, Any], by: str, columns: Mapping[str, Any], make: Callable[[Any, Any], Section]
) -> str:
    reasons: dict[str, int] = {}
    lines = [f"| {of} \\ {by} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = []
        for column in columns.values():
            why = refusal(make(row, column))
            cells.append("yes" if why is None else f"no ({reasons.setdefault(why, len(reasons) + 1)})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    notes = [f"{number}. {why}" for why, number in reasons.items()]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _sections(union: Any, given: Mapping[str, Section]) -> dict[str, Section]:
    """A section of each kind; a plugin's class gives what it must be told as ``example: ClassVar[dict]``."""
    return {
        kind: {"kind": kind, **given.get(kind, getattr(model, "example", {}))}
        for model in members(union)
        for kind in kinds(model)
    }
