"""What could not be concluded, and what it would take: checked against t tests calculated apart."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ablate.report.claims import Claims
from ablate.report.content import report_of
from ablate.report.content.unsettled import POWER, reach
from ablate.statistics.verdict import Comparison, Verdict, judge
from tests.report.content.reading import column, said, section, tables
from tests.report.content.test_document import SHARE, only_search
from tests.report.made_sweep import ARMS, Made

DIFFERENCES = (0.03, -0.02, 0.05, 0.01, -0.04, 0.02, 0.0, 0.04)


def claims(differences: tuple[float, ...], margin: float | None, family: int = 1) -> tuple[Claims, Verdict]:
    compared = [Comparison(f"arm{i}", "base", differences) for i in range(family)]
    verdicts = judge(compared, alpha=0.05, margin=margin)
    n = len(differences)
    return Claims("seed", "probe.h.test", "max", 0.05, margin, verdicts, 1, n, n), verdicts[0]


def simulated_power(effect: float, sd: float, n: int, level: float) -> float:
    draws = np.random.default_rng(0).normal(effect, sd, (20_000, n))
    found = stats.ttest_1samp(draws, 0.0, axis=1)
    return float(np.mean((found.pvalue <= level) & (draws.mean(1) > 0)))


@pytest.mark.parametrize("family", [1, 3])
def test_the_difference_that_would_be_found_has_the_power_that_is_said(family: int) -> None:
    c, v = claims(DIFFERENCES, 0.02, family)
    found = reach(c, v)
    assert found is not None
    n, sd = len(DIFFERENCES), float(np.std(DIFFERENCES, ddof=1))
    assert found.sd == pytest.approx(sd)
    cautious = sd * math.sqrt((n - 1) / stats.chi2.ppf(0.2, n - 1))
    for times, difference in zip((1, 2, 4), found.detectable, strict=True):
        power = simulated_power(difference, cautious, times * n, 0.05 / family)
        assert power == pytest.approx(POWER, abs=0.015)
    assert found.to_find is not None
    assert simulated_power(0.02, cautious, found.to_find, 0.05 / family) == pytest.approx(POWER, abs=0.015)


def test_more_units_find_less_and_a_larger_family_more() -> None:
    one, three = (reach(*claims(DIFFERENCES, None, family)) for family in (1, 3))
    assert one is not None
    assert three is not None
    assert list(one.detectable) == sorted(one.detectable, reverse=True)
    assert all(a < b for a, b in zip(one.detectable, three.detectable, strict=True))
    assert (one.to_find, one.to_equate) == (None, None)


@pytest.mark.parametrize("differences", [(0.1,), (0.1, 0.2), (0.1, 0.1, 0.1)])
def test_nothing_is_said_of_noise_that_cannot_be_told(differences: tuple[float, ...]) -> None:
    assert reach(*claims(differences, 0.02)) is None


def test_an_open_comparison_is_told_with_what_would_settle_it(tmp_path: Path) -> None:
    share = {"plain": 0.5, "deep": 0.52, "pixels": 0.2}
    made = Made(arms=ARMS, confirm={"seeds": 8, "margin": 0.02}, share=share).search().confirm()
    document = report_of(made.write(tmp_path / "made"), made.events)
    text = said(section(document, "unsettled").blocks)
    assert "deep - plain: inconclusive" in text
    assert "a difference of about" in text
    assert "to find one of 0.02, the margin:" in text
    assert "to show the two equal within 0.02:" in text
    assert "`arms.replicates: 6` or more" in text
    table = tables(document)["reach-table"]
    found = [float(column(table, f"found with {n} seeds")["deep - plain"]) for n in (8, 16, 32)]
    assert found == sorted(found, reverse=True)


def test_too_few_seeds_are_told_with_the_number_that_is_needed(tmp_path: Path) -> None:
    made = Made(arms=ARMS, confirm={"seeds": 3}, share=SHARE).search().confirm()
    document = report_of(made.write(tmp_path / "made"), made.events)
    text = said(section(document, "unsettled").blocks)
    assert "at least 6 seeds: with 3 no difference, however large, could be established" in text
    assert "to call the two equivalent: a `confirm.margin`" in text


def test_failed_trials_of_confirmation_are_named_with_the_command(tmp_path: Path) -> None:
    made = Made(arms=ARMS, confirm={"seeds": 8}, share=SHARE).search().confirm(lost=("c0001",))
    document = report_of(made.write(tmp_path / "made"), made.events)
    text = said(section(document, "unsettled").blocks)
    assert "deep - plain: blocked" in text
    assert "ablate retry made c0001\nablate resume made" in text


def test_a_search_alone_is_told_what_it_lacks(tmp_path: Path) -> None:
    from tests.report.content.reading import report

    text = said(section(report(only_search(tmp_path)), "unsettled").blocks)
    assert "Nothing was trained again on fresh seeds" in text
    assert "beyond these ends of ranges: optim.lr (high end, search)" in text
