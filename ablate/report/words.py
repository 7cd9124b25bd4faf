"""Verdicts in words and tables: no stronger word than the design has earned.

The same lines serve a sweep's summary and the verdicts on results from elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ablate.report.claims import KIND_OF_HEAD, LEAST_REPLICATES, Claims, name_of
from ablate.statistics.intervals import Interval
from ablate.statistics.verdict import Unit, Verdict

Rows = tuple[list[str], list[list[str]]]

FRONT = "Pareto front: no completed trial is better in one objective and as good in the others."

MEANINGS = {
    "better, worse": "the difference is established: p, after Holm over all comparisons, is at most alpha",
    "equivalent": "the difference is established to be smaller than the margin, whatever its sign",
    "inconclusive": "neither: this is not the same as no difference",
    "blocked": "a score that was planned is missing; nothing is said until it is there",
}


def claim(v: Verdict, subject: str = KIND_OF_HEAD) -> str:
    """What may be said about one comparison, in a sentence without its full stop.

    ``subject`` is what independent searches allow to be called better.
    """
    match v.word:
        case "blocked":
            return f"no claim: {v.why}"
        case "inconclusive":
            return f"inconclusive: {v.why}"
        case "equivalent":
            return f"equivalent: {v.why}{_too_few(v, subject)}"
        case _:
            return _differs(v, subject)


def _differs(v: Verdict, subject: str) -> str:
    c, n = v.comparison, len(v.comparison.differences)
    here = c.cells is None
    if v.unit == "seed":
        if here:
            return f"{c.arm} is {v.word} on this test set; for other images like these it is not established"
        return f"these two configurations differ: {c.arm} is {v.word}"
    if n < LEAST_REPLICATES:
        return f"{c.arm} was {v.word} in these searches{_too_few(v, subject)}"
    where = " on this test set" if here else ""
    return f"this {subject} is {v.word}{where}: {c.arm}, over {n} independent searches and their seeds"


def _too_few(v: Verdict, subject: str) -> str:
    n = len(v.comparison.differences)
    if v.unit == "seed" or n >= LEAST_REPLICATES:
        return ""
    return f"; {n} replicates are too few for a verdict on this {subject}"


def claim_items(claims: Claims) -> list[tuple[str, tuple[str, ...]]]:
    """A sentence for each comparison, with what belongs to it, and one for each control."""
    found: list[tuple[str, tuple[str, ...]]] = [
        (f"{name_of(v.comparison)}: {claim(v, claims.subject)}.", claims.notes.get(name_of(v.comparison), ()))
        for v in claims.verdicts
    ]
    return found + [(f"{name_of(v.comparison)}: a control, {_control(v)}.", ()) for v in claims.controls]


def _control(v: Verdict) -> str:
    interval, n = v.wide or v.interval, len(v.comparison.differences)
    if interval is None:
        return f"not compared: {v.why}"
    where = f" on the {n} seeds that there are" if v.comparison.missing else ""
    if interval.covers_zero:
        return f"which is not beaten beyond doubt{where}: the interval covers zero"
    return f"which is {'beaten' if v.mean > 0 else 'above it: look into this first'}{where}"


def verdict_rows(claims: Claims) -> Rows:
    """The table of verdicts, one row a comparison, controls last.

    The interval is the one over units and images, if per-example results are there.
    """
    wide = _has_images(claims)
    over = f"{claims.unit}s and images" if wide else f"{claims.unit}s"
    head = ["comparison", "verdict", f"{claims.unit}s", "difference", f"{percent(claims)} over {over}"]
    rows = [[*_measured(v, v.word, wide), p_text(v.p_holm)] for v in claims.verdicts]
    controls = [[*_measured(v, "control", wide, claims.unit), "-"] for v in claims.controls]
    return [*head, "p (Holm)"], rows + controls


def _measured(v: Verdict, word: str, wide: bool, unit: Unit | None = None) -> list[str]:
    """``unit`` is that of the column, if it may be another than the verdict's: controls have seeds only."""
    c = v.comparison
    n, all_of_them = len(c.differences), len(c.differences) + len(c.missing)
    units = f"{n} of {all_of_them}" if c.missing else str(n)
    units += "" if unit in (None, v.unit) else f" {v.unit}s"
    mean = f"{v.mean:+.4f}" if c.differences else "-"
    return [name_of(c), word, units, mean, interval_text(v.wide if wide else v.interval)]


def detail_rows(claims: Claims) -> Rows:
    """The table of effect sizes and further numbers, one row a comparison."""
    level, wide = percent(claims), _has_images(claims)
    t = [f"{level} over {claims.unit}s"] if wide else []
    head = ["comparison", *t, f"{level} BCa", "d_z", "P(better)", "p", "p of equivalence"]
    rows = [
        [
            name_of(v.comparison),
            *([interval_text(v.interval)] if wide else []),
            interval_text(v.bca),
            "-" if v.dz is None else f"{v.dz:+.2f}",
            "-" if v.p_better is None else f"{v.p_better:.2f}",
            p_text(v.p),
            p_text(v.p_equivalent),
        ]
        for v in claims.verdicts
    ]
    return head, rows


def factor_rows(claims: Claims) -> Rows:
    """The table of effects of factors, of a factorial design."""
    rows = [
        [" x ".join(e.factors), f"{e.mean:+.4f}", interval_text(e.interval), p_text(e.p)]
        for e in claims.effects
    ]
    return ["effect of", "difference", f"95% over {claims.unit}s", "p (Benjamini-Hochberg)"], rows


def _has_images(claims: Claims) -> bool:
    return any(v.wide is not None for v in (*claims.verdicts, *claims.controls))


def percent(claims: Claims) -> str:
    """The level of the intervals."""
    level = 100 * (1 - claims.alpha)
    each = (f"{level:.{digits}g}" for digits in range(3, 17))  # an early look's level is no 100%
    return next(text for text in each if text != "100") + "%"


def score_rows(claims: Claims) -> Rows:
    """The table of arms, controls too: their scores on the seeds that count."""
    rows = [
        [arm, str(len(x)), f"{sum(x) / len(x):.4f}", f"{min(x):.4f}", f"{max(x):.4f}"] if x
        else [arm, "0", "-", "-", "-"]
        for arm, x in claims.scores.items()
    ]  # fmt: skip
    return ["arm", "trials", f"mean {claims.metric}", "lowest", "highest"], rows


def method_lines(claims: Claims) -> list[str]:
    """How the verdicts were come by, and what makes them weaker."""
    better = "larger" if claims.mode == "max" else "smaller"
    turned = "" if claims.mode == "max" else " Differences are turned so that larger is better."
    lines = [f"Paired differences of {claims.metric} ({better} is better).{turned} {_scope(claims)}"]
    lines += [_level(claims)] if claims.verdicts else []
    lines += claims.labels
    if claims.effects:
        lines.append("Effects of factors are explored, not declared: they point at what to test next.")
    if claims.budgets:
        lines.append(f"What was spent differs, though the budgets were equal: {claims.budgets}.")
    if claims.digest:
        lines.append(f"Declared before the first confirmation trial: {claims.digest[:16]}.")
    return lines


def _scope(claims: Claims) -> str:
    cells = [v.comparison.cells for v in (*claims.verdicts, *claims.controls)]
    images = max((x.shape[1] for x in cells if x is not None), default=0)
    wide = f", those over images too also for images like these {images}" if images else ""
    return f"Intervals over {claims.unit}s (t and BCa) hold for these test images only{wide}."


def _level(claims: Claims) -> str:
    n = len(claims.verdicts)
    family = f"{n} comparisons: p corrected by Holm, intervals not" if n > 1 else "1 comparison"
    text = f"{family}; alpha {claims.alpha:.3g}{_looks(claims)}."
    if claims.margin is None:
        return f"{text} No margin was stated, so nothing is called equivalent."
    return f"{text} Differences below {claims.margin:g} do not matter."


def _looks(claims: Claims) -> str:
    if len(claims.looks) < 2:
        return ""
    place = next((i for i, k in enumerate(claims.looks, 1) if k.seeds == claims.seeds_used), 0)
    total = sum(look.alpha for look in claims.looks)
    taken = sum(look.taken for look in claims.looks)
    return (
        f" of {total:.3g}, at look {place} of {len(claims.looks)} ({taken} taken), after "
        f"{claims.seeds_used} of {claims.seeds_planned} seeds"
    )


def interval_text(interval: Interval | None, *, sign: bool = True) -> str:
    """``[-0.0123, +0.0456]``, of scores without ``sign``, or a hyphen where there is none."""
    kind = "+.4f" if sign else ".4f"
    return "-" if interval is None else f"[{interval.low:{kind}}, {interval.high:{kind}}]"


def p_text(p: float | None) -> str:
    return "-" if p is None else f"{p:.3g}"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(row)} |" for row in cells]


def tree(claims: Claims) -> dict[str, Any]:
    """All of it as JSON holds it; numbers that are not defined are None."""
    return {
        "unit": claims.unit,
        "metric": claims.metric,
        "mode": claims.mode,
        "alpha": claims.alpha,
        "margin": claims.margin,
        "replicates": claims.replicates,
        "seeds": {"used": claims.seeds_used, "planned": claims.seeds_planned},
        "looks": [{"seeds": k.seeds, "alpha": k.alpha, "taken": k.taken} for k in claims.looks],
        "digest": claims.digest,
        "budgets": claims.budgets,
        "labels": list(claims.labels),
        "verdicts": [
            {
                **_tree(v),
                "claim": claim(v, claims.subject),
                "notes": list(claims.notes.get(name_of(v.comparison), ())),
            }
            for v in claims.verdicts
        ],
        "controls": [_tree(v) for v in claims.controls],
        "effects": [
            {"factors": list(e.factors), "mean": e.mean, "interval": _ends(e.interval), "p": e.p}
            for e in claims.effects
        ],
    }


def _tree(v: Verdict) -> dict[str, Any]:
    c = v.comparison
    return {
        "arm": c.arm,
        "against": c.against,
        "word": v.word,
        "why": v.why,
        "differences": list(c.differences),
        "missing": list(c.missing),
        "mean": _number(v.mean),
        "interval": _ends(v.interval),
        "bca": _ends(v.bca),
        "over_images_too": _ends(v.wide),
        "p": _number(v.p),
        "p_holm": _number(v.p_holm),
        "p_equivalent": _number(v.p_equivalent),
        "dz": _number(v.dz),
        "p_better": _number(v.p_better),
    }


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def listed(names: Sequence[str], most: int = 8) -> str:
    """``a, b and 3 more``."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def value_text(value: Any) -> str:
    """A drawn value: numbers with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def drawn_text(params: Mapping[str, Any]) -> str:
    """``optim.lr=0.4584, head.depth=2``."""
    return ", ".join(f"{key}={value_text(value)}" for key, value in params.items()) or "nothing to draw"
