"""Verdicts of whole sweeps: calculated twice, in words no stronger than the design, and never too early."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablate.ledger import Event, Ledger
from ablate.report import claims_of, markdown, summarise, summary_of, write_results
from ablate.report.claims import Claims
from ablate.report.words import claim, claim_items, method_lines, tree, verdict_rows
from ablate.statistics import alphas
from tests.report.made_sweep import ARMS, DIGEST, Made
from tests.report.recalculated import recalculated
from tests.search.test_decide import Course

FAR = {"best": 0.8, "simclr": 0.6, "untrained": 0.5, "pixels": 0.2}
NEAR = {"best": 0.8, "simclr": 0.8, "untrained": 0.5, "pixels": 0.2}
ARMED = {"plain": 0.5, "deep": 0.7, "pixels": 0.2}


def claims(made: Made, folder: Path) -> Claims:
    found = claims_of(folder, made.events)
    assert found is not None
    return found


def made(seeds: int = 8, share: dict[str, float] = FAR, **confirm: Any) -> Made:
    return Made(confirm={"seeds": seeds, **confirm}, share=share).search()


def armed(replicates: int, seeds: int = 2, share: dict[str, float] = ARMED, **confirm: Any) -> Made:
    arms = {**ARMS, "replicates": replicates}
    return Made(arms=arms, confirm={"seeds": seeds, **confirm}, share=share).search()


def sentences(found: Claims) -> list[str]:
    return [sentence for sentence, _ in claim_items(found)]


def assert_calculated_twice(found: Claims, folder: Path) -> None:
    write_results(folder)
    pairs = [(v.comparison.arm, v.comparison.against) for v in found.verdicts]
    anew = recalculated(folder, found.metric, pairs, found.seeds_used, found.alpha, found.margin)
    for v in found.verdicts:
        other = anew[f"{v.comparison.arm} - {v.comparison.against}"]
        assert v.word == other["word"]
        assert v.mean == pytest.approx(other["mean"])
        assert v.interval is not None
        assert (v.interval.low, v.interval.high) == pytest.approx(other["interval"])
        assert v.wide is not None
        assert (v.wide.low, v.wide.high) == pytest.approx(other["wide"])
        assert v.p == pytest.approx(other["p"])
        assert v.p_holm == pytest.approx(other["p_holm"])


@pytest.mark.parametrize(("share", "margin", "word"), [
    (FAR, None, "better"), ({**FAR, "simclr": 0.95}, None, "worse"), (NEAR, None, "inconclusive"),
    (NEAR, 0.1, "equivalent"), ({**NEAR, "simclr": 0.77}, 0.2, "equivalent"),
])  # fmt: skip
def test_verdicts_are_reproduced_from_the_parquet_file(
    tmp_path: Path, share: dict[str, float], margin: float | None, word: str
) -> None:
    sweep = made(share=share, margin=margin).confirm()
    folder = sweep.write(tmp_path / "made")
    found = claims(sweep, folder)
    assert [(v.comparison.arm, v.comparison.against, v.word) for v in found.verdicts] == [
        ("best", "simclr", word)
    ]
    assert (found.unit, found.metric, found.mode, found.margin) == ("seed", "probe.h.test", "max", margin)
    assert (found.seeds_used, found.seeds_planned, found.digest) == (8, 8, DIGEST)
    assert_calculated_twice(found, folder)


@pytest.mark.parametrize("replicates", [2, 6])
def test_verdicts_of_replicates_are_reproduced_from_the_parquet_file(tmp_path: Path, replicates: int) -> None:
    sweep = armed(replicates).confirm()
    folder = sweep.write(tmp_path / "made")
    found = claims(sweep, folder)
    assert (found.unit, found.replicates, found.seeds_used) == ("replicate", replicates, 2)
    (control,) = found.controls  # trained beside the first replicate only
    assert (len(control.comparison.differences), control.comparison.missing) == (2, ())
    assert control.unit == "seed"
    assert_calculated_twice(found, folder)


def test_several_arms_are_one_family_and_each_is_compared_with_the_baseline(tmp_path: Path) -> None:
    arms = {"baseline": "plain", "each": {"plain": {}, "deep": {"head.depth": 3}, "flat": {"head.depth": 1}}}
    share = {"plain": 0.5, "deep": 0.7, "flat": 0.51, "pixels": 0.2}
    sweep = Made(arms=arms, confirm={"seeds": 8}, share=share).search().confirm()
    folder = sweep.write(tmp_path / "made")
    found = claims(sweep, folder)
    assert [(v.comparison.arm, v.comparison.against, v.word) for v in found.verdicts] == [
        ("deep", "plain", "better"), ("flat", "plain", "inconclusive"),
    ]  # fmt: skip
    assert_calculated_twice(found, folder)
    deep, _ = found.verdicts
    assert deep.p is not None
    assert deep.p_holm == pytest.approx(2 * deep.p)
    (control,) = found.controls
    assert (control.comparison.arm, control.comparison.against) == ("plain", "pixels")


def test_one_search_each_says_that_configurations_differ_and_nothing_of_kinds(tmp_path: Path) -> None:
    sweep = made().confirm()
    found = claims(sweep, sweep.write(tmp_path / "made"))
    (verdict,) = found.verdicts
    assert claim(verdict) == "these two configurations differ: best is better"
    assert any("not on kinds of head" in label for label in found.labels)
    assert not any("kind of head is" in line for line in sentences(found))


@pytest.mark.parametrize(("replicates", "strong"), [(2, False), (5, False), (6, True), (7, True)])
def test_a_kind_of_head_takes_six_replicates(tmp_path: Path, replicates: int, strong: bool) -> None:
    """At an alpha at which five would do for the test."""
    sweep = armed(replicates, alpha=0.1).confirm()
    found = claims(sweep, sweep.write(tmp_path / "made"))
    said = " ".join(sentences(found))
    assert ("this kind of head is better: deep" in said) == strong
    assert any("too few" in label for label in found.labels) == (not strong)
    assert found.verdicts[0].word == ("better" if replicates >= 5 else "inconclusive")
    assert "two configurations differ" not in said


def test_controls_are_measured_outside_the_family(tmp_path: Path) -> None:
    sweep = made().confirm()
    found = claims(sweep, sweep.write(tmp_path / "made"))
    assert [v.comparison.against for v in found.verdicts] == ["simclr"]
    assert found.verdicts[0].p_holm == found.verdicts[0].p
    assert [v.comparison.against for v in found.controls] == ["untrained", "pixels"]
    assert [line for line in sentences(found) if "control" in line] == [
        "best - untrained: a control, which is beaten.",
        "best - pixels: a control, which is beaten.",
    ]


def test_a_control_that_lost_a_seed_takes_nothing_from_the_verdicts(tmp_path: Path) -> None:
    sweep = made().confirm(lost=("c0003",))
    found = claims(sweep, sweep.write(tmp_path / "made"))
    assert [v.word for v in found.verdicts] == ["better"]
    assert [len(v.comparison.missing) for v in found.controls] == [0, 1]
    assert "best - pixels: a control, which is beaten on the 7 seeds that there are." in sentences(found)


def test_a_missing_pair_blocks_its_comparison_and_names_the_command(tmp_path: Path) -> None:
    sweep = made().confirm(lost=("c0005",))  # simclr at seed 1001
    folder = sweep.write(tmp_path / "made")
    found = claims(sweep, folder)
    (verdict,) = found.verdicts
    assert (verdict.word, verdict.comparison.missing) == ("blocked", ("1001",))
    assert found.notes["best - simclr"] == (
        "simclr, seed 1001: c0005 FAILED (out of memory)",
        "run again: `ablate retry made c0005`, then `ablate resume made`",
    )
    text = summarise(folder)
    assert "best - simclr: no claim: no score in one of the two for seed 1001." in text
    assert "`ablate retry made c0005`" in text
    assert "configurations differ" not in text


def test_a_retried_trial_blocks_until_it_has_ended(tmp_path: Path) -> None:
    sweep = made().confirm(lost=("c0005",))
    sweep._add("retried", trial="c0005", epoch=0)
    found = claims(sweep, tmp_path)
    assert found.verdicts[0].word == "blocked"
    assert found.notes["best - simclr"] == ("simclr, seed 1001: c0005 WAITING",)
    sweep._finish("c0005", "COMPLETE", "", 3, {"probe.h.test": 0.6})
    assert claims(sweep, tmp_path).verdicts[0].word == "better"


def test_nothing_is_claimed_before_it_is_declared(tmp_path: Path) -> None:
    sweep = made()
    assert sweep.events[-1]["event"] == "declared"
    assert claims_of(tmp_path, sweep.events[:-1]) is None
    nothing = [*sweep.events[:-1], {**sweep.events[-1], "arms": [], "comparisons": [], "seeds": []}]
    assert claims_of(tmp_path, nothing) is None
    waiting = claims(sweep, tmp_path)
    assert [v.word for v in waiting.verdicts] == ["blocked"]
    assert waiting.notes["best - simclr"][:2] == (
        "best, seed 1000: was not run",
        "simclr, seed 1000: was not run",
    )


@pytest.mark.parametrize("replicates", [None, 2])
def test_a_ledger_that_ends_anywhere_gives_no_false_verdict(tmp_path: Path, replicates: int | None) -> None:
    """Cut after any of its records; only once all scores are there may anything be claimed."""
    share = {**FAR, **ARMED}
    sweep = made(7, share).confirm() if replicates is None else armed(replicates, 2, share).confirm()
    folder = sweep.write(tmp_path / "made")
    compared = {arm for pair in _declared(sweep)["comparisons"] for arm in pair}
    of = {e["trial"]: e["arm"] for e in sweep.events if e["event"] == "asked" and e["stage"] == "confirm"}
    whole = max(i for i, e in enumerate(sweep.events)
                if e["event"] == "finished" and of.get(e["trial"]) in compared)  # fmt: skip
    for length in range(1, len(sweep.events) + 1):
        events = sweep.events[:length]
        summary = summary_of(folder, events)
        assert summary.name in markdown(summary)
        if length <= whole:
            assert summary.claims is None or {v.word for v in summary.claims.verdicts} == {"blocked"}
        else:
            assert summary.claims is not None
            assert {v.word for v in summary.claims.verdicts} <= {"better", "inconclusive"}


def test_a_half_written_last_record_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    sweep = made(7).confirm()
    folder = sweep.write(tmp_path / "made")
    whole = (folder / "ledger.jsonl").read_bytes()
    *before, score, _, _ = [i for i, byte in enumerate(whole) if byte == ord("\n")]
    (folder / "ledger.jsonl").write_bytes(whole[: score - 20])
    kept = Ledger.read(folder / "ledger.jsonl")
    assert len(kept) == len(before)
    assert "The sweep has not ended" in summarise(folder)
    found = claims_of(folder, kept)
    assert found is not None
    assert found.looks[0].taken is False


def _declared(sweep: Made) -> Event:
    (declared,) = [e for e in sweep.events if e["event"] == "declared"]
    return declared


def test_a_look_that_settles_all_ends_it_and_has_its_own_alpha(tmp_path: Path) -> None:
    sweep = made(12, looks=[8, 12]).confirm()
    folder = sweep.write(tmp_path / "made")
    found = claims(sweep, folder)
    first, last = alphas([8, 12], 0.05)
    assert (found.seeds_used, found.seeds_planned, found.alpha) == (8, 12, pytest.approx(first))
    assert [(k.seeds, k.taken) for k in found.looks] == [(8, True), (12, False)]
    assert found.verdicts[0].word == "better"
    assert_calculated_twice(found, folder)
    assert any(f"alpha {first:.3g} of 0.05, at look 1 of 2" in line for line in method_lines(found))
    equal = made(12, NEAR, looks=[8, 12]).confirm()
    assert claims(equal, tmp_path).alpha == pytest.approx(last)
    assert claims(equal, tmp_path).seeds_used == 12


def test_seeds_beyond_the_look_that_ended_it_do_not_count(tmp_path: Path) -> None:
    sweep = made(12, looks=[8, 12]).confirm()
    before = claims(sweep, tmp_path)
    best = next(spec for (arm, _), spec in sweep.compared.items() if arm == "best")
    for arm, score in (("best", 0.1), ("simclr", 0.9)):
        trial = f"x{arm}"
        sweep._ask(trial, 99, "confirm", arm, {}, best.model_copy(update={"seed": 1008}))
        sweep._finish(trial, "COMPLETE", "", 3, {"probe.h.test": score})
    after = claims(sweep, tmp_path)
    assert after.verdicts[0].comparison.differences == before.verdicts[0].comparison.differences
    assert after.scores == before.scores


def test_an_operators_end_between_looks_leaves_the_last_look(tmp_path: Path) -> None:
    sweep = made(12, NEAR, looks=[8, 12]).confirm(cut=38)
    found = claims(sweep, tmp_path)
    assert (found.seeds_used, found.alpha) == (8, pytest.approx(alphas([8, 12], 0.05)[0]))
    assert found.verdicts[0].word == "inconclusive"
    assert any("stopped by the operator" in label and "after 8 seeds" in label for label in found.labels)


def test_a_look_that_settled_nothing_is_not_the_last_word_while_the_sweep_goes_on(tmp_path: Path) -> None:
    sweep = made(12, NEAR, looks=[8, 12]).confirm()
    looked = next(i for i, e in enumerate(sweep.events) if e["event"] == "looked")
    assert not sweep.events[looked]["stop"]
    sweep.events = sweep.events[: looked + 1]
    found = claims(sweep, tmp_path)
    assert (found.seeds_used, found.verdicts[0].word) == (12, "blocked")
    cut = made(12, NEAR, looks=[8, 12]).confirm(cut=38, lost=("c0034",))
    cut._add("retried", trial="c0034", epoch=0)
    assert claims(cut, tmp_path).seeds_used == 12


def test_an_operators_end_without_a_look_blocks(tmp_path: Path) -> None:
    sweep = made(12).confirm(cut=38)
    found = claims(sweep, tmp_path)
    assert found.seeds_used == 12
    assert found.verdicts[0].word == "blocked"
    assert any("stopped by the operator" in label for label in found.labels)
    assert "best, seed 1011: was not run" in found.notes["best - simclr"]


def test_too_few_seeds_are_said_with_how_many_it_takes(tmp_path: Path) -> None:
    sweep = made(3).confirm()
    found = claims(sweep, sweep.write(tmp_path / "made"))
    (line, *_) = sentences(found)
    assert line.startswith("best - simclr: inconclusive: cannot conclude with 3 seeds")
    assert "6 would be needed" in line


def test_without_stored_predictions_the_claim_is_on_this_test_set(tmp_path: Path) -> None:
    sweep = made().confirm()
    folder = sweep.write(tmp_path / "made")
    (folder / "trials" / "c0000" / "correct.npz").unlink()
    found = claims(sweep, folder)
    assert found.verdicts[0].wide is None
    assert claim(found.verdicts[0]).startswith("best is better on this test set; for other images")
    assert "Over seeds, on this test set only: no per-example results." in found.labels


def test_where_smaller_is_better_differences_are_turned(tmp_path: Path) -> None:
    sweep = made().confirm()
    folder = sweep.write(tmp_path / "made")
    upright = claims(sweep, folder)
    _declared(sweep)["mode"] = "min"
    turned = claims(sweep, folder)
    assert turned.verdicts[0].mean == pytest.approx(-upright.verdicts[0].mean)
    assert (upright.verdicts[0].word, turned.verdicts[0].word) == ("better", "worse")


def test_equal_budgets_leave_no_note(tmp_path: Path) -> None:
    found = claims(armed(1, 8).confirm(), tmp_path)
    assert (found.budgets, found.notes) == ("", {})


def test_an_arm_whose_trials_failed_has_a_verdict_with_a_note(tmp_path: Path) -> None:
    arms = {**ARMS, "replicates": 1}
    sweep = Made(arms=arms, confirm={"seeds": 8}, share=ARMED).search(failing=("t0001",)).confirm()
    found = claims(sweep, sweep.write(tmp_path / "made"))
    assert found.verdicts[0].word == "better"
    (note,) = found.notes["deep - plain"]
    assert note.startswith(
        "unequal budgets: search trials that ended without failing: 1 of 2 of deep, 2 of 2"
    )
    assert "took 3 epochs, those of plain 6" in found.budgets
    assert "unequal budgets" in markdown(summary_of(tmp_path / "made", sweep.events))


def test_an_arm_whose_search_was_ended_early_has_a_verdict_with_a_note(tmp_path: Path) -> None:
    arms = {**ARMS, "replicates": 1}
    sweep = Made(arms=arms, confirm={"seeds": 8}, share=ARMED)
    sweep.search(closed={"deep": "stopped by the operator"}).confirm()
    (note,) = claims(sweep, tmp_path).notes["deep - plain"]
    assert note == (
        "unequal budgets: deep was ended before all its trials: stopped by the operator; "
        "plain asked for all its trials"
    )


def test_all_of_it_goes_into_json(tmp_path: Path) -> None:
    sweep = made(3).confirm(lost=("c0000", "c0004", "c0008"))
    written = json.loads(json.dumps(tree(claims(sweep, tmp_path)), allow_nan=False))
    (verdict,) = written["verdicts"]
    assert (verdict["word"], verdict["mean"], verdict["p_holm"]) == ("blocked", None, None)
    assert written["seeds"] == {"used": 3, "planned": 3}


def run_all(course: Course, quality: dict[str, float]) -> None:
    """A sweep through the decisions of a driver: every trial scores its arm's quality, with noise."""
    rng = np.random.default_rng(3)
    while course.state.ended is None:
        started = course.happens("wanted", slot="a")[-1]
        if started["event"] == "started":
            trial = course.state.trials[started["trial"]]
            score = quality.get(trial.arm, 0.1) + 0.01 * rng.normal()
            for epoch in range(trial.epochs + 1, trial.last_epoch + 1):
                course.report(trial.id, epoch, score)
            course.end(trial.id, **{"probe.h.val": score, "probe.h.test": score})


def test_what_the_search_declares_and_looks_at_is_what_is_judged(tmp_path: Path) -> None:
    plan = {"seeds": 10, "first_seed": 1000, "looks": [8, 10], "controls": ["pixels"], "margin": 0.02}
    course = Course(trials=2, arms=ARMS, confirm=plan)
    run_all(course, {"plain": 0.5, "deep": 0.7})
    events = [{"time": float(i), **e} for i, e in enumerate(course.events)]
    found = claims_of(tmp_path, events)
    assert found is not None
    (looked,) = [e for e in events if e["event"] == "looked"]
    assert looked["stop"]
    assert (found.seeds_used, found.alpha) == (looked["seeds"], looked["alpha"])
    (verdict,) = found.verdicts
    recorded = looked["comparisons"]["deep - plain"]
    assert verdict.word == "better"
    assert verdict.mean == pytest.approx(recorded["mean"])
    assert verdict.p_holm == pytest.approx(recorded["p_holm"])
    assert found.digest == next(e["digest"] for e in events if e["event"] == "declared")


def test_replicates_of_a_real_course_are_its_units(tmp_path: Path) -> None:
    course = Course(trials=2, arms={**ARMS, "replicates": 6}, confirm={"seeds": 2, "first_seed": 1000})
    run_all(course, {"plain": 0.5, "deep": 0.7})
    found = claims_of(tmp_path, [{"time": float(i), **e} for i, e in enumerate(course.events)])
    assert found is not None
    assert (found.unit, len(found.verdicts[0].comparison.differences)) == ("replicate", 6)
    assert found.verdicts[0].word == "better"
    assert found.notes == {}


def test_a_declaration_is_void_once_a_larger_budget_lets_the_search_go_on(tmp_path: Path) -> None:
    sweep = made()
    sweep._ask("t0099", 4, "search", "search", {}, sweep.sweep.base)
    assert claims_of(tmp_path, sweep.events) is None
    assert summary_of(tmp_path, sweep.events).claims is None


def test_controls_of_replicates_are_counted_in_seeds(tmp_path: Path) -> None:
    sweep = armed(6).confirm()
    head, [verdict, control] = verdict_rows(claims(sweep, sweep.write(tmp_path / "made")))
    assert (head[2], verdict[2], control[2]) == ("replicates", "6", "2 seeds")


def test_the_level_of_an_early_look_is_not_said_to_be_100(tmp_path: Path) -> None:
    sweep = made(12, NEAR, looks=[2, 12]).confirm(cut=9)
    found = claims(sweep, tmp_path)
    assert found.seeds_used == 2
    assert verdict_rows(found)[0][4] == "99.98% over seeds"


@pytest.mark.parametrize(("change", "said"), [
    ({"loss.temperature": 0.1}, "this setting is better: deep"),
    ({"head.depth": 3}, "this kind of head is better: deep"),
])  # fmt: skip
def test_arms_that_differ_in_something_else_are_not_called_heads(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    arms = {"baseline": "plain", "each": {"plain": {}, "deep": change}, "replicates": 6}
    sweep = Made(arms=arms, confirm={"seeds": 2}, share=ARMED).search().confirm()
    found = claims(sweep, sweep.write(tmp_path / "made"))
    assert said in sentences(found)[0]
    assert said in tree(found)["verdicts"][0]["claim"]


def test_without_replicates_labels_name_what_was_compared(tmp_path: Path) -> None:
    arms = {"baseline": "plain", "each": {"plain": {}, "deep": {"loss.temperature": 0.1}}}
    sweep = Made(arms=arms, confirm={"seeds": 8}, share=ARMED).search().confirm()
    found = claims(sweep, sweep.write(tmp_path / "made"))
    assert any("not on settings" in label for label in found.labels)
    assert not any("head" in label for label in found.labels)
