"""Simulated power: the very decisions of `judge`, and known powers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from ablate.statistics.intervals import crossed_p
from ablate.statistics.multiplicity import holm
from ablate.statistics.power import (
    BETTER,
    EQUIVALENT,
    INCONCLUSIVE,
    WORSE,
    Study,
    evidence,
    image_variances,
    minimum_detectable,
    power,
)
from ablate.statistics.sequential import alphas
from ablate.statistics.sign_flip import sign_flip_p
from ablate.statistics.verdict import Comparison, judge, settled

WORDS = {"better": BETTER, "worse": WORSE, "equivalent": EQUIVALENT, "inconclusive": INCONCLUSIVE}
LADDER = (8, 12)


def _judged(differences: np.ndarray, alpha: float, margin: float | None) -> list[int]:
    family = [Comparison(str(i), "base", tuple(map(float, d))) for i, d in enumerate(differences)]
    return [WORDS[v.word] for v in judge(family, alpha=alpha, margin=margin)]


@pytest.mark.parametrize(
    ("family", "units", "margin"),
    [(1, 6, None), (3, 8, None), (3, 8, 0.6), (5, 9, 0.4), (2, 17, 0.4), (2, 2, 1.0)],
)
def test_many_decisions_at_once_are_those_of_judge_and_settled(
    family: int, units: int, margin: float | None
) -> None:
    rng = np.random.default_rng(family * units)
    effects = rng.choice([-1.2, 0.0, 0.3, 1.2], size=(12, family, 1))
    smooth = effects + rng.normal(0, 0.7, (12, family, units))
    samples = np.concatenate([smooth, np.round(smooth * 3) / 3, np.zeros((1, family, units))])
    for alpha in (0.05, 0.3):
        words = evidence(samples, margin, ceiling=alpha).words(alpha)
        assert np.array_equal(words, evidence(samples, margin).words(alpha))
        for sample, row in zip(samples, words, strict=True):
            assert list(row) == _judged(sample, alpha, margin)
            looked = settled({str(i): tuple(d) for i, d in enumerate(sample)}, alpha, margin)
            assert [x["settled"] for x in looked.values()] == [word != INCONCLUSIVE for word in row]


@pytest.mark.parametrize("margin", [None, 0.7])
@pytest.mark.parametrize("others", ["null", "effect"])
def test_a_study_is_looks_until_all_is_settled_and_then_a_verdict(margin: float | None, others) -> None:  # type: ignore[no-untyped-def]
    looks, effect = (7, 9, 12), 1.1
    levels = alphas(looks, 0.1)
    study = Study(1.0, looks, levels, 2, margin, repetitions=40, seed=1, others=others)
    words, units = study.run(effect)
    for noise, word, used in zip(study.noise, words, units, strict=True):
        d = noise.copy()
        d[slice(None) if others == "effect" else 0] += effect
        for n, alpha in zip(looks, levels, strict=True):
            seen = settled({str(i): tuple(x[:n]) for i, x in enumerate(d)}, alpha, margin)
            if all(x["settled"] for x in seen.values()) or n == looks[-1]:
                assert used == n
                assert word == _judged(d[:, :n], alpha, margin)[0]
                break
    ends_early = others == "effect" or margin is not None  # equal arms are never settled without a margin
    assert (len(set(units)) > 1) == ends_early


@pytest.mark.parametrize(("n", "effect"), [(8, 1.2), (12, 1.0), (15, 0.6)])
def test_power_of_one_look_is_near_that_of_the_t_test(n: int, effect: float) -> None:
    theirs = float(TTestPower().power(effect, n, 0.05))
    found = power(effect, 1.0, [n], [0.05], 1, repetitions=2000)
    assert found.power == pytest.approx(theirs, abs=0.04)
    assert found.mean_seeds == n
    assert found.error == pytest.approx(math.sqrt(found.power * (1 - found.power) / 2000))


def test_looks_cost_little_power_and_save_seeds() -> None:
    """As measured once and for all: .85 against .88, for a difference of one standard deviation."""
    looks = power(1.0, 1.0, LADDER, [0.01, 0.04], 1)
    fixed = power(1.0, 1.0, [12], [0.05], 1)
    assert looks.power == pytest.approx(0.85, abs=0.02)
    assert fixed.power == pytest.approx(0.88, abs=0.02)
    assert looks.mean_seeds < 11.5


@pytest.mark.parametrize("family", [1, 3])
def test_between_equals_the_error_is_within_alpha(family: int) -> None:
    found = power(0.0, 1.0, LADDER, alphas(LADDER, 0.05), family)
    assert found.power <= 0.05 / family + 3 * math.sqrt(0.05 / 4000)


def test_power_grows_with_the_effect_and_falls_with_the_family() -> None:
    levels = alphas(LADDER, 0.05)
    by_effect = [power(e, 1.0, LADDER, levels, 3, repetitions=1000).power for e in (0.0, 0.5, 1.0, 1.5)]
    assert by_effect == sorted(by_effect)
    by_family = [power(1.0, 1.0, LADDER, levels, m, repetitions=1000).power for m in (1, 3, 8)]
    assert by_family == sorted(by_family, reverse=True)
    assert all(a > b for a, b in itertools.pairwise(by_family))


def test_worse_is_found_as_often_as_better_and_units_cancel() -> None:
    levels = alphas(LADDER, 0.05)
    up = power(0.9, 1.0, LADDER, levels, 1).power
    assert power(-0.9, 1.0, LADDER, levels, 1, seed=5).power == pytest.approx(up, abs=0.03)
    assert power(0.009, 0.01, LADDER, levels, 1).power == up


def test_equal_effects_help_one_another_through_holm_and_end_the_study_earlier() -> None:
    looks = (10, 13)
    levels = alphas(looks, 0.05)
    alone = power(1.2, 1.0, looks, levels, 4, repetitions=1000)
    together = power(1.2, 1.0, looks, levels, 4, repetitions=1000, others="effect")
    assert together.power > alone.power
    assert together.mean_seeds < alone.mean_seeds


def test_equal_arms_are_found_equivalent_inside_a_wide_margin() -> None:
    found = power(0.0, 0.1, LADDER, alphas(LADDER, 0.05), 2, margin=0.2, repetitions=1000)
    assert found.equivalent > 0.9
    assert power(1.0, 0.1, LADDER, alphas(LADDER, 0.05), 2, margin=0.2, repetitions=1000).equivalent == 0


@pytest.mark.parametrize(("looks", "family"), [((8,), 1), ((8, 12), 3), ((10,), 5), ((9, 14), 2)])
def test_the_declared_effect_has_the_declared_power(looks: tuple[int, ...], family: int) -> None:
    """Checked on other noise than the one it was found with."""
    levels = alphas(looks, 0.05)
    effect = minimum_detectable(0.02, looks, levels, family, repetitions=2000)
    assert effect is not None
    found = power(effect, 0.02, looks, levels, family, seed=77)
    assert found.power >= 0.8 - 2 * found.error
    less = power(0.85 * effect, 0.02, looks, levels, family, seed=77, repetitions=2000)
    assert less.power < 0.8


def test_a_study_that_cannot_conclude_declares_no_effect() -> None:
    assert minimum_detectable(1.0, [5], [0.05], 1) is None
    assert minimum_detectable(1.0, [3, 6], alphas([3, 6], 0.05), 3) is None
    assert power(1000.0, 1.0, [5], [0.05], 1, repetitions=100).power == 0
    # only the first look can conclude, but equal others keep the study from ending there
    assert minimum_detectable(1.0, [8, 9], [0.05, 0.001], 4, repetitions=200) is None


def test_detectable_effects_scale_with_the_noise() -> None:
    one = minimum_detectable(1.0, [8], [0.05], 1, repetitions=500)
    small = minimum_detectable(0.01, [8], [0.05], 1, repetitions=500)
    assert one is not None
    assert small == pytest.approx(one / 100)
    assert minimum_detectable(0.0, [8], [0.05], 1) == 0.0
    assert minimum_detectable(1.0, [8], [0.05], 1, power=0.5, repetitions=500) < one  # type: ignore[operator]


def _pilot(rng: np.random.Generator, shape: tuple[int, int], effect: float) -> np.ndarray:
    """Cells in which images favour an arm (.2), units vary (.02) and the rest is noise (.4)."""
    units, images = shape
    taste, unit = rng.normal(0, 0.2, images), rng.normal(0, 0.02, (units, 1))
    return np.asarray(effect + taste + unit + rng.normal(0, 0.4, shape))


def test_image_variances_are_those_put_in() -> None:
    taste, residual = image_variances(_pilot(np.random.default_rng(0), (20, 3000), 0.1))
    assert taste == pytest.approx(0.04, rel=0.15)
    assert residual == pytest.approx(0.16, rel=0.05)


def test_noise_has_a_part_that_all_units_share_if_images_vary() -> None:
    pilot = _pilot(np.random.default_rng(0), (20, 100), 0.0)
    taste, _ = image_variances(pilot)
    noise = Study(0.02, (8,), (0.05,), 2, cells=pilot).noise
    assert noise.var(axis=2, ddof=1).mean() == pytest.approx(0.02**2, rel=0.05)
    assert noise.mean(axis=2).var() == pytest.approx(0.02**2 / 8 + taste / 100, rel=0.05)


def test_power_with_images_is_that_of_whole_simulated_cells() -> None:
    rng, units, images, effect = np.random.default_rng(3), 8, 150, 0.05
    hits = 0
    for _ in range(600):
        cells = _pilot(rng, (units, images), effect)
        p, crossed = sign_flip_p(cells.mean(1)), crossed_p(cells)
        assert p is not None
        assert crossed is not None
        hits += max(p, crossed) <= 0.05 and cells.mean() > 0
    sd = math.sqrt(0.02**2 + 0.16 / images)
    pilot = _pilot(rng, (60, images), 0.0)
    # the pilot's images are one draw; put in the variances that generated the cells
    pilot = (pilot - pilot.mean(0)) + np.sqrt(0.04 / pilot.mean(0).var(ddof=1)) * pilot.mean(0)
    found = power(effect, sd, [units], [0.05], 1, cells=pilot)
    assert found.power == pytest.approx(hits / 600, abs=0.07)
    assert found.power < power(effect, sd, [units], [0.05], 1).power - 0.1


@pytest.mark.parametrize("margin", [None, 0.3])
def test_evidence_with_images_has_the_p_of_judge(margin: float | None) -> None:
    """From the variance of the image means alone, as from the cells."""
    rng = np.random.default_rng(8)
    cells = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.5, 0.4], size=(5, 2, 7, 60))
    cells[0] = 0.0
    by_image = cells.mean(2).var(axis=2, ddof=1) / 60
    found = evidence(cells.mean(3), margin).with_images(by_image, 60)
    for i, pair in enumerate(cells):
        family = [
            Comparison(str(j), "base", tuple(map(float, c.mean(1))), cells=c) for j, c in enumerate(pair)
        ]
        verdicts = judge(family, alpha=0.1, margin=margin)
        assert list(found.p[i]) == pytest.approx([v.p for v in verdicts])
        if found.p_equivalent is not None:
            expected = [v.p_equivalent for v in verdicts]
            assert list(holm(list(found.p_equivalent[i]))) == pytest.approx(expected)
        assert list(found.words(0.1)[i]) == [WORDS[v.word] for v in verdicts]


def test_family_wise_error_over_looks_with_a_shared_baseline_is_within_alpha() -> None:
    """Six equal arms, five against the first: a wrong word for any of them, at any look, counts once."""
    samples, looks = 3000, (8, 12)
    arms = np.random.default_rng(9).normal(size=(samples, 6, looks[-1]))
    differences = arms[:, 1:] - arms[:, :1]
    levels = alphas(looks, 0.05)
    wrong = np.zeros(samples, dtype=bool)
    alone = np.zeros(samples, dtype=bool)
    for n, alpha in zip(looks, levels, strict=True):
        found = evidence(differences[:, :, :n], None)
        wrong |= (found.words(alpha) != INCONCLUSIVE).any(axis=1)
        alone |= (found.p <= alpha).any(axis=1)
    assert wrong.mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / samples)
    assert alone.mean() > 0.1  # without Holm


@pytest.mark.parametrize(
    "wrong",
    [
        {"looks": ()},
        {"looks": (8, 8), "alphas": (0.02, 0.03)},
        {"looks": (1,)},
        {"alphas": (0.02, 0.03)},
        {"family": 0},
        {"sd": -1.0},
        {"sd": math.inf},
        {"cells": np.ones((1, 5))},
    ],
)
def test_what_is_no_study_is_refused(wrong: dict[str, object]) -> None:
    whole = {"sd": 1.0, "looks": (8,), "alphas": (0.05,), "family": 1}
    with pytest.raises(ValueError):  # noqa: PT011 - four different messages
        Study(**(whole | wrong))  # type: ignore[arg-type]


def test_a_power_beyond_certainty_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        minimum_detectable(1.0, [8], [0.05], 1, power=1.0)
