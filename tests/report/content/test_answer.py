"""The answer: what was earned, with its uncertainty, and never a stronger word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ablate.report.claims import claims_of
from ablate.report.content import report_of
from ablate.report.document.blocks import Bullets
from ablate.report.words import claim_items
from tests.report.analysis import made_search
from tests.report.analysis.made_search import made_events, sweep_of
from tests.report.content.reading import said
from tests.report.content.test_document import SHARE, all_failed
from tests.report.made_sweep import ARMS, Made

STRONG = ("head is better", "setting is better", "proves", "significant")


def answer(made: Made, tmp_path: Path) -> str:
    return said(report_of(made.write(tmp_path / "made"), made.events).answer)


def test_each_comparison_is_answered_in_the_words_of_the_verdict_with_its_interval(tmp_path: Path) -> None:
    made = Made(arms=ARMS, confirm={"seeds": 8, "margin": 0.02}, share=SHARE).search().confirm()
    folder = made.write(tmp_path / "made")
    document = report_of(folder, made.events)
    claims = claims_of(folder, made.events)
    assert claims is not None
    (points,) = [block for block in document.answer if isinstance(block, Bullets)]
    assert [item.text for item in points.items] == [sentence for sentence, _ in claim_items(claims)]
    (v,) = claims.verdicts
    assert v.wide is not None
    numbers = points.items[0].notes[0]
    assert f"difference {v.mean:+.4f} in probe.h.test" in numbers
    assert f"95% over seeds and images [{v.wide.low:+.4f}, {v.wide.high:+.4f}], on 8 seeds" in numbers
    assert f", p {v.p_holm:.3g} after Holm" in numbers
    assert "after Holm" not in points.items[1].notes[0]  # a control belongs to no family
    text = said(document.answer)
    assert text.startswith("1 of 1 comparison settled.")
    assert "a verdict is on two configurations, not on kinds of head" in text
    assert not any(word in text for word in STRONG)


def test_inconclusive_is_not_called_equal(tmp_path: Path) -> None:
    share = {"plain": 0.5, "deep": 0.5, "pixels": 0.2}
    text = answer(Made(arms=ARMS, confirm={"seeds": 8}, share=share).search().confirm(), tmp_path)
    assert "0 of 1 comparison settled, 1 inconclusive, which is not the same as no difference." in text
    assert "equivalent" not in text


def test_equivalence_comes_with_its_own_p(tmp_path: Path) -> None:
    share = {"plain": 0.5, "deep": 0.5, "pixels": 0.2}
    made = Made(arms=ARMS, confirm={"seeds": 8, "margin": 0.3}, share=share).search().confirm()
    folder = made.write(tmp_path / "made")
    claims = claims_of(folder, made.events)
    assert claims is not None
    (v,) = claims.verdicts
    text = said(report_of(folder, made.events).answer)
    assert "equivalent: the difference is smaller than 0.3, for these two configurations" in text
    assert f"on 8 seeds, p of equivalence {v.p_equivalent:.3g} after Holm" in text


def test_a_missing_score_blocks_the_answer_and_says_what_to_run(tmp_path: Path) -> None:
    made = Made(arms=ARMS, confirm={"seeds": 8}, share=SHARE).search().confirm(lost=("c0001",))
    text = answer(made, tmp_path)
    assert "1 without a claim, for scores are missing" in text
    assert "no claim: no score in one of the two for seed 1000" in text
    assert "`ablate retry made c0001`" in text


def test_only_replicated_searches_speak_of_a_kind(tmp_path: Path) -> None:
    made = Made(arms={**ARMS, "replicates": 6}, confirm={"seeds": 2}, share=SHARE).search().confirm()
    text = answer(made, tmp_path)
    assert "this kind of head is better: deep, over 6 independent searches" in text
    assert "on 6 replicates" in text


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        (4, "there is nothing to answer with"),
        (9, "Not answered yet: confirmation, which answers, has not begun"),
    ],
)
def test_a_sweep_under_way_has_no_answer_yet(tmp_path: Path, cut: int, says: str) -> None:
    made = Made().search()
    made.events = made.events[:cut]
    text = answer(made, tmp_path)
    assert says in text
    assert "settled" not in text


def test_what_is_missing_while_confirmation_goes_on_is_told_in_short(tmp_path: Path) -> None:
    made = Made(arms=ARMS, confirm={"seeds": 8}, share=SHARE).search()
    text = answer(made, tmp_path)
    assert "The sweep has not ended" in text
    assert "1 without a claim, for scores are missing" in text
    assert "plain, seed 1000: was not run" in text or "deep, seed 1000: was not run" in text
    assert "and 12 more, under What could not be concluded" in text
    assert len(text.splitlines()) < 15


def test_without_confirmation_nothing_is_established(tmp_path: Path) -> None:
    spec = sweep_of(trials=2)
    trials = [made_search.Made({1: 0.5}, {"optim.lr": 0.1}), made_search.Made({1: 0.75}, {"optim.lr": 0.2})]
    text = said(report_of(tmp_path, made_events(spec, trials)).answer)
    assert "Nothing is established: this sweep has no confirm stage" in text
    assert "The best in search, which is no result: t0001, probe.h.val 0.75 (`optim.lr` 0.2)." in text


def test_where_everything_failed_there_is_no_answer(tmp_path: Path) -> None:
    from tests.report.content.reading import report

    assert "there is nothing to answer with" in said(report(all_failed(tmp_path)).answer)


def test_what_was_not_declared_answers_nothing(tmp_path: Path) -> None:
    made = Made().search().confirm()
    made.events = [e for e in made.events if e["event"] not in ("declared", "looked")]
    text = answer(made, tmp_path)
    assert "No claim: trials of confirmation are there, but nothing was declared before them" in text


def test_a_sweep_that_was_cut_says_so_first(tmp_path: Path) -> None:
    made = Made(arms=ARMS, confirm={"seeds": 8}, share=SHARE).search().confirm(cut=7)
    text = answer(made, tmp_path)
    assert text.startswith("The sweep was ended before all of it was done: stopped by the operator.")


def test_a_best_with_nothing_to_compare_it_with_gets_no_verdict(tmp_path: Path) -> None:
    plan: dict[str, Any] = {"references": {}}
    text = answer(Made(confirm=plan).search().confirm(), tmp_path)
    assert "Nothing was compared, so that there is no verdict" in text
    assert "best - pixels: a control" in text
