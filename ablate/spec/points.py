"""Trials that come of a space, drawn to find combinations that are not valid though each value is."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from ablate.spec.draw import apply, draw
from ablate.spec.explain import Finding, dotted, explain, show
from ablate.spec.paths import Path
from ablate.spec.space import Choice, Distribution, FloatRange, IntRange, Scalar
from ablate.spec.trial import TrialSpec

_POINTS = 200


def check_points(
    base: TrialSpec, space: Mapping[str, Distribution], references: Mapping[str, Mapping[str, Any]]
) -> Iterator[Finding]:
    """Draw points, always the same ones, and report the first invalid trial for each key that causes one."""
    generator = random.Random(0)
    blamed: set[Path] = set()
    for _ in range(_POINTS):
        params = draw(space, lambda _, entry: _suggest(generator, entry), base)
        finding = _try_point(base, params, params, ("space",))
        if finding is None:
            best = apply(base, params)
            found = [
                _try_point(best, values, params, ("confirm", "references", name))
                for name, values in references.items()
            ]
        else:
            found = [finding]
        for f in found:
            if f is not None and f.path not in blamed:
                blamed.add(f.path)
                yield f


def _try_point(
    base: TrialSpec, changes: Mapping[str, Any], params: Mapping[str, Any], path: Path
) -> Finding | None:
    point = ", ".join(f"{k}: {f'{v:.4g}' if isinstance(v, float) else show(v)}" for k, v in params.items())
    try:
        apply(base, changes)
    except ValidationError as error:
        first = explain(error, TrialSpec, {})[0]
        key = _blame(first, list(changes))
        return Finding((*path, *([key] if key else [])), f"not every point is a trial; at {point}: {first}")
    except ValueError as error:
        key = next((k for k in changes if str(error).startswith(k)), "")
        return Finding((*path, *([key] if key else [])), f"not every point is a trial; at {point}: {error}")
    return None


def _blame(finding: Finding, drawn: list[str]) -> str:
    """The key of a point to report a mistake in the resulting trial at; empty if none stands out."""
    where = dotted(finding.path)
    root = where.split(".")[0]
    related = [k for k in drawn if k == root or k.startswith(f"{root}.")]
    tests = (
        lambda k: k == where,
        lambda k: where.startswith(f"{k}.") or k.startswith(f"{where}."),
        lambda k: re.search(rf"\b{re.escape(k.rpartition('.')[2])}\b", finding.message) is not None,
        lambda k: k.endswith(".kind"),
        lambda _: True,
    )
    return next((k for test in tests for k in related if test(k)), "")


def _suggest(generator: random.Random, entry: Distribution) -> Scalar:
    """Ends of a range as often as its inside: mistakes gather there."""
    match entry:
        case Choice(choice=values):
            return generator.choice(values)
        case IntRange(int=(low, high), step=step):
            last = low + (high - low) // step * step
            return generator.choice((low, last, generator.randrange(low, last + 1, step)))
        case FloatRange(float=(low, high)):
            return generator.choice((low, high, generator.uniform(low, high)))
