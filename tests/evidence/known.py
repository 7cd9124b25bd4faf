"""Verdicts on real training where the answer is known.

Equal arms get the same seeds, so that their scores are equal to the last digit and nothing is tested by
comparing them. So each repetition's arm is also compared with the equal arm of the next repetition, whose
seeds are others: two samples of the same configuration that share nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

from ablate.ledger import Ledger
from ablate.report.claims import Claims, claims_of
from ablate.spec.sweep import SweepSpec
from ablate.statistics import Comparison, judge
from tests.evidence.checks import ablate, rows_of
from tests.evidence.harness import Finding, check
from tests.sweep.test_claims import DISCARD, KEEP, tiny

REPETITIONS, SEEDS = 20, 8
METRIC = "probe.z.test"
ALLOWED = int(binom.ppf(0.95, REPETITIONS, 0.05))  # verdicts among equals


@check("known")
def known_answers(scratch: Path) -> Finding:
    folders = [run(scratch, i, {"one": KEEP, "other": KEEP}) for i in range(REPETITIONS)]
    same = [claims(folder).verdicts[0] for folder in folders]
    pairs = zip(folders, [*folders[1:], folders[0]], strict=True)
    apart = [judge([unpaired(a, b)])[0] for a, b in pairs]
    told = claims(run(scratch, REPETITIONS, {"discard": DISCARD, "keep": KEEP})).verdicts[0]
    false = sum(v.word in ("better", "worse") for v in apart)
    largest = max(abs(d) for v in same for d in v.comparison.differences)
    figures = {
        "repetitions": REPETITIONS,
        "seeds": SEEDS,
        "equal_arms_same_seeds_largest_difference": largest,
        "equal_arms_other_seeds_verdicts": false,
        "of_them_allowed": ALLOWED,
        "equal_arms_other_seeds_smallest_p": min(v.p for v in apart if v.p is not None),
        "spread_of_differences_points": round(
            100 * float(np.mean([_spread(v.comparison) for v in apart])), 2
        ),
        "keep_minus_discard": round(told.mean, 4),
        "keep_against_discard": told.word,
    }
    held = largest == 0 and false <= ALLOWED
    return Finding(
        f"A head that keeps h is called better than one that keeps two numbers of it; in {REPETITIONS} "
        "independent repetitions of real training, equal arms have equal scores on equal seeds, and on other "
        f"seeds at most {ALLOWED} of them (95% of the time, at 5% each) get a verdict.",
        held and told.word == "better",
        figures,
        "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in figures.items()),
    )


def run(scratch: Path, repetition: int, each: dict[str, dict[str, object]]) -> Path:
    """One tiny sweep with seeds of its own, by the command line."""
    sweep = tiny(each, seeds=SEEDS, first_seed=1000 + 100 * repetition).as_dict()
    name = f"known-{repetition}"
    file = scratch / f"{name}.yaml"
    tree = {**sweep, "name": name, "base": {**sweep["base"], "seed": repetition}}
    file.write_text(SweepSpec.model_validate(tree).model_dump_json())  # JSON is YAML
    ablate("sweep", file, "--backend", "inline", "--runs", scratch)
    return scratch / name


def claims(folder: Path) -> Claims:
    found = claims_of(folder, Ledger.read(folder / "ledger.jsonl"))
    assert found is not None
    return found


def unpaired(folder: Path, other: Path) -> Comparison:
    """The arm "one" of two sweeps, in the order of their seeds."""
    rows, others = (_confirmed(f) for f in (folder, other))
    differences = tuple(a[METRIC] - b[METRIC] for a, b in zip(rows, others, strict=True))
    trials = [(f"{folder.name}/trials/{a['trial_id']}", f"{other.name}/trials/{b['trial_id']}")
              for a, b in zip(rows, others, strict=True)]  # fmt: skip
    return Comparison("one", "another", differences, cells=_cells(folder.parent, trials))


def _confirmed(folder: Path) -> list[dict[str, Any]]:
    rows = [r for r in rows_of(folder) if r["stage"] == "confirm" and r["arm"] == "one"]
    return sorted(rows, key=lambda row: int(row["seed"]))


def _cells(runs: Path, trials: list[tuple[str, str]]) -> np.ndarray:
    def correct(trial: str) -> np.ndarray:
        with np.load(runs / trial / "correct.npz") as stored:
            return stored[METRIC.removesuffix(".test")].astype(float)

    return np.stack([correct(a) - correct(b) for a, b in trials])


def _spread(comparison: Comparison) -> float:
    return float(np.std(comparison.differences, ddof=1))
