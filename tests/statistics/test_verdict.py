"""Verdicts: their precedence, their words, and that no finite numbers break them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.statistics import Comparison, Verdict, judge, settled
from ablate.statistics.equivalence import crossed_tost_p, tost_p
from ablate.statistics.intervals import bca_interval, crossed_interval, crossed_p, t_interval
from ablate.statistics.multiplicity import holm
from ablate.statistics.sign_flip import sign_flip_p

SPREAD = np.array([-0.010, 0.004, 0.008, -0.006, 0.002, 0.005, -0.007, 0.004])  # sums to zero


def _of(d: np.ndarray | list[float], **more: object) -> Comparison:
    return Comparison("arm", "base", tuple(float(x) for x in d), **more)  # type: ignore[arg-type]


def _one(c: Comparison, **more: object) -> Verdict:
    (verdict,) = judge([c], **more)  # type: ignore[arg-type]
    return verdict


@pytest.mark.parametrize(
    ("mean", "margin", "missing", "word"),
    [
        (0.100, None, (), "better"),
        (-0.10, None, (), "worse"),
        (0.002, None, (), "inconclusive"),
        (0.000, None, (), "inconclusive"),
        (0.002, 0.05, (), "equivalent"),
        (0.020, 0.05, (), "equivalent"),  # established and too small to matter
        (-0.02, 0.05, (), "equivalent"),
        (0.048, 0.05, (), "better"),  # not shown to be inside
        (0.100, 0.05, (), "better"),
        (-0.10, 0.05, (), "worse"),
        (0.002, 0.004, (), "inconclusive"),
        (0.100, None, ("1003",), "blocked"),
        (0.002, 0.05, ("1003",), "blocked"),
    ],
)
def test_precedence(mean: float, margin: float | None, missing: tuple[str, ...], word: str) -> None:
    assert _one(_of(mean + SPREAD, missing=missing), margin=margin).word == word


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_units_block(n: int) -> None:
    verdict = _one(_of([0.3] * n), margin=0.1)
    assert verdict.word == "blocked"
    assert verdict.p is verdict.p_holm is verdict.p_equivalent is verdict.interval is None
    assert math.isnan(verdict.mean) == (n == 0)


def test_a_verdict_carries_the_numbers_of_the_methods() -> None:
    cells = np.random.default_rng(0).integers(-1, 2, size=(8, 40)).astype(float)
    cells[:, :25] = 1.0
    c = _of(cells.mean(1), cells=cells)
    v = _one(c, alpha=0.1, margin=0.9)
    p, crossed = sign_flip_p(c.differences), crossed_p(cells)
    assert p is not None
    assert crossed is not None
    assert v.p_units == p
    assert v.p == v.p_holm == max(p, crossed)
    assert v.p_equivalent == max(tost_p(c.differences, 0.9) or 0, crossed_tost_p(cells, 0.9) or 0)
    assert v.interval == t_interval(c.differences, 0.9)
    assert v.bca == bca_interval(c.differences, 0.9)
    assert v.wide == crossed_interval(cells, 0.9)
    assert v.mean == pytest.approx(cells.mean())
    assert v.p_better == 1.0
    assert v.dz == pytest.approx(np.mean(c.differences) / np.std(c.differences, ddof=1))


def test_holm_covers_the_family_and_a_blocked_comparison_counts() -> None:
    """Seven units: p = 1/64, enough for three comparisons and not for four."""
    clear = _of([0.1, 0.11, 0.12, 0.1, 0.13, 0.1, 0.09])
    lost = _of([0.1, 0.1], missing=("1004",))
    assert [v.word for v in judge([clear, lost, lost])] == ["better", "blocked", "blocked"]
    four = judge([clear, lost, lost, lost])
    assert [v.word for v in four] == ["inconclusive", "blocked", "blocked", "blocked"]
    assert four[0].p_holm == 4 / 64
    assert "8 would be needed" in four[0].why


def test_two_clear_differences_help_one_another() -> None:
    """Holm, unlike Bonferroni, lets the second of two pass at the whole alpha."""
    strong = _of([0.1, 0.11, 0.12, 0.1, 0.13, 0.1, 0.09])
    weaker = _of([0.1, 0.11, 0.12, 0.1, 0.13, 0.1, -0.01])
    assert weaker.differences != strong.differences
    verdicts = judge([strong, weaker])
    assert [v.p for v in verdicts] == [1 / 64, 2 / 64]
    assert [v.p_holm for v in verdicts] == [2 / 64, 2 / 64]
    assert [v.word for v in verdicts] == ["better", "better"]


def test_equal_arms_have_p_one_and_are_equivalent_only_inside_a_margin() -> None:
    zero = _of([0.0] * 8)
    assert _one(zero).p == 1.0
    assert _one(zero).word == "inconclusive"
    assert _one(zero).dz is None
    assert _one(zero).bca is None
    assert _one(zero, margin=0.01).word == "equivalent"
    with_cells = _of([0.0] * 8, cells=np.zeros((8, 30)))
    assert _one(with_cells).p == 1.0
    assert _one(with_cells, margin=0.01).word == "equivalent"


def _tasteful(effect: float) -> np.ndarray:
    """Eight units that agree on 60 images, half of which favour each arm but for ``effect``."""
    taste = np.where(np.arange(60) % 2 == 0, 1.0, -1.0) + effect
    return np.asarray(taste + 0.01 * SPREAD[:, np.newaxis])


def test_images_can_take_a_verdict_back_and_confirm_it() -> None:
    weak, strong = _tasteful(0.1), _tasteful(0.9)
    only_here = _one(_of(weak.mean(1), cells=weak))
    assert only_here.word == "inconclusive"
    assert only_here.p_units == 2.0**-7
    assert "these test images only" in only_here.why
    assert _one(_of(weak.mean(1))).word == "better"
    assert _one(_of(strong.mean(1), cells=strong)).word == "better"
    assert _one(_of(-strong.mean(1), cells=-strong)).word == "worse"


def test_images_that_point_the_other_way_support_nothing() -> None:
    strong = _tasteful(0.9)
    verdict = _one(_of(strong.mean(1), cells=-strong))
    assert (verdict.word, verdict.p) == ("inconclusive", 1.0)


def test_images_can_take_equivalence_back() -> None:
    cells = _tasteful(0.0)
    assert _one(_of(cells.mean(1)), margin=0.05).word == "equivalent"
    assert _one(_of(cells.mean(1), cells=cells), margin=0.05).word == "inconclusive"


def test_why_says_no_more_than_was_earned() -> None:
    c = _of(0.1 + SPREAD)
    assert "these two configurations on this test set, over 8 seeds" in _one(c).why
    assert "independent searches on this test set, over 8 replicates" in _one(c, unit="replicate").why
    wide = _tasteful(0.9)
    assert "on this test set" in _one(_of(wide[:, 0], cells=wide[:, :1])).why  # one image is no sample
    assert "over 8 seeds and the test images" in _one(_of(wide.mean(1), cells=wide)).why
    small = _one(_of(0.02 + SPREAD), margin=0.05)
    assert "smaller than 0.05" in small.why
    assert "its sign is established as well" in small.why
    assert "sign" not in _one(_of(0.0005 + SPREAD), margin=0.05).why
    assert _one(_of(0.0005 + SPREAD)).why == "a difference is not established"
    assert "nor that it is smaller than 0.004" in _one(_of(0.002 + SPREAD), margin=0.004).why


def test_why_names_what_is_missing_or_too_few() -> None:
    assert _one(_of([0.1] * 4, missing=("1003",))).why == "no score in one of the two for seed 1003"
    assert "seeds 1003, 1004" in _one(_of([0.1] * 4, missing=("1003", "1004"))).why
    assert "1 seed:" in _one(_of([0.1])).why
    assert "no replicate" in _one(_of([]), unit="replicate").why
    few = _one(_of([0.1, 0.2, 0.1, 0.2, 0.15]))
    assert few.word == "inconclusive"
    assert few.why == "cannot conclude with 5 seeds at alpha 0.05; 6 would be needed"
    assert "needed" not in _one(_of([0.1, 0.2]), alpha=1e-6).why


@pytest.mark.parametrize("n", range(2, 6))
def test_up_to_five_seeds_nothing_is_better_or_worse(n: int) -> None:
    assert _one(_of([1000.0 + i for i in range(n)])).word == "inconclusive"


def test_nothing_is_judged_of_nothing() -> None:
    assert judge([]) == ()
    assert settled({}, 0.05) == {}


def test_settled_is_judge_in_rounded_numbers() -> None:
    rng = np.random.default_rng(1)
    samples = {"a": rng.normal(1, 0.5, 8), "b": rng.normal(0, 0.5, 8), "c": rng.normal(0, 0.01, 8)}
    looked = settled({name: tuple(d) for name, d in samples.items()}, 0.05, 0.05)
    verdicts = judge([_of(d) for d in samples.values()], margin=0.05)
    assert list(looked) == ["a", "b", "c"]
    for found, v in zip(looked.values(), verdicts, strict=True):
        assert found["settled"] == (v.word != "inconclusive")
        for name in ("mean", "p", "p_holm", "p_equivalent"):
            assert found[name] == pytest.approx(getattr(v, name), rel=1e-8)  # type: ignore[literal-required]
            assert float(f"{found[name]:.9g}") == found[name]  # type: ignore[literal-required]
    assert [x["settled"] for x in looked.values()] == [True, False, True]


def test_settled_without_a_margin_or_enough_units() -> None:
    looked = settled({"a": (0.1,), "b": (), "c": tuple(0.1 + SPREAD)}, 0.05)
    assert looked["a"] == {"mean": 0.1, "p": None, "p_holm": None, "p_equivalent": None, "settled": False}
    assert looked["b"]["mean"] is None
    assert looked["c"]["p_holm"] == pytest.approx(3 * 2.0**-7)
    assert looked["c"]["settled"]


@given(
    st.lists(
        st.lists(st.integers(-30, 30).map(lambda k: k / 360), min_size=2, max_size=8), min_size=1, max_size=4
    ),
    st.sampled_from([None, 0.02, 0.1]),
    st.randoms(use_true_random=False),
)
@settings(max_examples=30, deadline=None)
def test_verdicts_follow_their_comparisons_and_turn_with_the_arms(
    samples: list[list[float]],
    margin: float | None,
    random,  # type: ignore[no-untyped-def]
) -> None:
    family = [_of(d) for d in samples]
    verdicts = judge(family, margin=margin)
    order = random.sample(range(len(family)), len(family))
    shuffled = judge([family[i] for i in order], margin=margin)
    turned = judge([_of([-x for x in d]) for d in samples], margin=margin)
    opposite = {"better": "worse", "worse": "better"}
    for i, j in enumerate(order):
        assert shuffled[i].word == verdicts[j].word
        assert shuffled[i].p_holm == pytest.approx(verdicts[j].p_holm)
    for v, t in zip(verdicts, turned, strict=True):
        assert t.word == opposite.get(v.word, v.word)
        assert t.p == v.p


finite = st.floats(-1e30, 1e30, allow_subnormal=True)


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    d = draw(st.lists(finite, max_size=6) | finite.flatmap(lambda x: st.just([x] * 5)))
    missing = draw(st.sampled_from([(), (), ("1007",)]))
    shape = (len(d), draw(st.integers(0, 4)))
    cells = np.random.default_rng(draw(st.integers(0, 99))).integers(-1, 2, shape).astype(float)
    return _of(d, missing=missing, cells=draw(st.sampled_from([None, cells])))


@given(
    st.lists(comparisons(), max_size=4), st.floats(1e-9, 0.4), st.none() | st.floats(0, 1e6), st.booleans()
)
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_no_finite_numbers_break_a_verdict(
    family: list[Comparison], alpha: float, margin: float | None, replicates: bool
) -> None:
    unit = "replicate" if replicates else "seed"
    verdicts = judge(family, alpha=alpha, margin=margin, unit=unit)
    assert [v.comparison for v in verdicts] == family
    for v in verdicts:
        assert v.why
        assert "\n" not in v.why
        assert v.unit == unit
        for p in (v.p, v.p_holm, v.p_equivalent, v.p_units):
            assert p is None or 0 < p <= 1
        assert (v.word == "blocked") == (bool(v.comparison.missing) or len(v.comparison.differences) < 2)
        if v.word in ("better", "worse"):
            assert v.p_holm is not None
            assert v.p_holm <= alpha * (1 + 1e-8)
            assert (v.mean > 0) == (v.word == "better")
        if v.word == "equivalent":
            assert margin is not None
            assert abs(v.mean) < margin


@given(st.lists(st.lists(st.integers(-9, 9).map(float), min_size=2, max_size=7), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_holm_of_a_family_is_holm_of_its_p(samples: list[list[float]]) -> None:
    verdicts = judge([_of(d) for d in samples])
    assert [v.p_holm for v in verdicts] == list(holm([sign_flip_p(d) or 0.0 for d in samples]))
