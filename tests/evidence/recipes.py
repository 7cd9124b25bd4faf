"""The papers' recipes, run as a user runs them: how long each took and what it found.

Beside the confirmation's own summary stand the means of what the recipe's trials were asked to diagnose, one
row an arm, with 95% t intervals over seeds.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import t

from tests.evidence.checks import DATA, ablate, rows_of, sweep_figures, verdict_figures
from tests.evidence.harness import Finding, check

_LONGEST = 600  # seconds
_THEORY = 180
_RANKS = ("rank.h.effective", "rank.z.effective", "probe.h.test", "probe.z.test")
_SHOWN: dict[str, tuple[str, ...]] = {
    "directclr": _RANKS,
    "sparsehead-controls": (
        "probe.h.test", "head.hoyer", "head.active_inputs", "rank.h.effective", "subset.share",
        "subset.loss_masked", "generalisation.gap",
    ),
    "bilevel": (
        "probe.h.test", "inner.gap", "inner.gap_fresh", "inner.gradient", "head.jacobian_rank",
        "head.data_dependence", "augmentation.h.cosine", "augmentation.z.cosine", "augmentation.h.r2",
        "augmentation.z.r2",
    ),
    "margins": (
        "probe.h.test", "margins.A", "margins.B", "margins.AB", "margins.positive_to_negative", "alignment",
        "uniformity",
    ),
    "reweighting": (
        "layers.h.core.probe", "layers.z.core.probe", "layers.h.background.probe",
        "layers.z.background.probe", "layers.h.object.probe", "layers.z.object.probe",
        "factors.h.erm.worst", "factors.h.dfr.worst", "factors.z.dfr.worst", "factors.h.dfr.average",
    ),
}  # fmt: skip


def recipe(name: str, scratch: Path) -> Finding:
    began = time.monotonic()
    ablate("sweep", f"search_spaces/{name}.yaml", "--runs", scratch)
    folder = scratch / name
    figures = sweep_figures(folder, time.monotonic() - began) | verdict_figures(folder)
    rows = confirmed(folder)
    return Finding(
        f"search_spaces/{name}.yaml runs to its end in under ten minutes on two cores, without a failed "
        "trial, and in a verdict on each arm that a calculation from its files alone repeats.",
        figures["seconds"] < _LONGEST and not figures["failed"] and figures["recalculated"],
        figures,
        (folder / "summary.md").read_text() + "\n## Diagnosed\n\n" + by_arm(rows, _SHOWN[name]),
    )


for _name in _SHOWN:
    check(_name)(partial(recipe, _name))


@check("theory")
def theory(scratch: Path) -> Finding:
    """Every claim of the papers that a small computation can check."""
    found, began = scratch / "theory.json", time.monotonic()
    shown = ablate("theory", "--json", found).stdout
    answers = json.loads(found.read_text())["checks"]
    claims = [claim for answer in answers for claim in answer["claims"]]
    seconds = time.monotonic() - began
    return Finding(
        "`ablate theory` checks the papers' claims in under three minutes on two cores, and all hold.",
        seconds < _THEORY and all(claim["holds"] for claim in claims),
        {"seconds": round(seconds), "claims": len(claims), "answers": answers},
        f"```\n{shown}\n```",
    )


@check("mnist-on-cifar10")
def digits_on_photos(scratch: Path) -> Finding:
    """Digit and object at every layer, before and after a fixed reweighting head of three strengths."""
    for folder in (DATA / "cifar10", DATA / "mnist"):
        if not folder.is_dir():
            raise SystemExit(
                f"{folder}: no such folder; set ABLATE_TEST_DATA to one that holds cifar10 and mnist"
            )
    began = time.monotonic()
    ablate(
        "sweep", "search_spaces/mnist-on-cifar10.yaml", "--runs", scratch,
        "--set", f"base.data.cifar10={DATA / 'cifar10'}", "--set", f"base.data.mnist={DATA / 'mnist'}",
    )  # fmt: skip
    folder = scratch / "mnist-on-cifar10"
    figures = sweep_figures(folder, time.monotonic() - began)
    rows = [row for row in confirmed(folder) if row["arm"].startswith("kappa")]
    probes = [key for key in rows[0] if key.startswith("layers.") and key.endswith(".probe")]
    figures |= {f"{arm} {key}": interval(values(rows, arm, key)) for arm in arms(rows) for key in probes}
    return Finding(
        "For kappa 1, 1.05 and 1.5, 5 seeds each: probe accuracy of digit and object at each layer, before "
        "and after the head.",
        all(len(values(rows, arm, key)) == 5 for arm in arms(rows) for key in probes),
        figures,
        by_layer(rows, probes) + "\n\n" + (folder / "summary.md").read_text(),
    )


def confirmed(folder: Path) -> list[dict[str, Any]]:
    return [row for row in rows_of(folder) if row["stage"] == "confirm" and row["state"] == "COMPLETE"]


def arms(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["arm"] for row in rows))


def values(rows: Sequence[dict[str, Any]], arm: str, key: str) -> list[float]:
    return [row[key] for row in rows if row["arm"] == arm and row.get(key) is not None]


def interval(found: Sequence[float]) -> str:
    """``mean +- half width`` of the 95% t interval."""
    if len(found) < 2:
        return "-" if not found else f"{found[0]:.3f}"
    half = t.ppf(0.975, len(found) - 1) * stdev(found) / math.sqrt(len(found))
    return f"{mean(found):.3f} ± {half:.3f}"


def by_arm(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> str:
    lines = [f"| arm | {' | '.join(keys)} |", "|---" * (len(keys) + 1) + "|"]
    for arm in arms(rows):
        cells = [interval(values(rows, arm, key)) for key in keys]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def by_layer(rows: Sequence[dict[str, Any]], probes: Sequence[str]) -> str:
    names = arms(rows)
    lines = [f"| layer | factor | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for key in sorted(probes, key=_forward):
        layer, factor = key.removeprefix("layers.").removesuffix(".probe").rsplit(".", 1)
        cells = [interval(values(rows, arm, key)) for arm in names]
        lines.append(f"| {layer} | {factor} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _forward(probe: str) -> tuple[int, str]:
    """Layers in the order that an image passes them."""
    place = {"stem": 0, "stage": 1, "h": 2, "head": 3, "z": 4}
    return place[probe.split(".")[1]], probe
