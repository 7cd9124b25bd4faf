"""What a plan promises, what it refuses to promise, and what it says it does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from ablate.report.planning.design import design_of
from ablate.report.planning.pilot import Pilot, read_pilot
from ablate.report.planning.plan import Plan, make_plan
from ablate.spec.sweep import SweepSpec
from ablate.statistics import alphas
from ablate.statistics.power import power
from tests.report.planning.ran import Ran, arms_sweep
from tests.search.synthetic import sweep

NOISY = {"plain": [0.50, 0.52, 0.47, 0.55], "deep": [0.53, 0.50, 0.52, 0.56]}


def pilot(spec: SweepSpec | None = None, scores: dict[str, list[float]] = NOISY, **more: Any) -> Pilot:
    return read_pilot(Ran(spec or arms_sweep(**more)).confirm(scores).events)


def refused(made: Plan) -> str:
    return "\n".join(made.refusals)


# --- the design ------------------------------------------------------------------------------------------


def test_with_arms_each_is_compared_with_the_baseline() -> None:
    design = design_of(arms_sweep(each=("deep", "plain", "shallow"), looks=[4, 8], alpha=0.1))
    assert design.arms == ("plain", "deep", "shallow")
    assert design.comparisons == (("deep", "plain"), ("shallow", "plain"))
    assert (design.unit, design.looks, design.units) == ("seed", (4, 8), 8)
    assert design.alphas == alphas((4, 8), 0.1)


def test_without_arms_the_best_is_compared_with_each_reference_and_controls_with_nobody() -> None:
    references = {"wide": {"head.hidden": 512}, "narrow": {"head.hidden": 16}}
    design = design_of(sweep(confirm={"seeds": 6, "references": references, "controls": ["pixels"]}))
    assert design.comparisons == (("best", "wide"), ("best", "narrow"))
    assert (design.family, design.looks, design.controls) == (2, (6,), ("pixels",))


def test_with_replicates_the_replicate_is_the_unit() -> None:
    design = design_of(arms_sweep(replicates=7, seeds=3))
    assert (design.unit, design.looks, design.alphas) == ("replicate", (7,), (0.05,))


# --- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arms", "seeds", "needed"),
    [(2, 5, 6), (2, 6, None), (3, 6, 7), (3, 7, None)],
)
def test_too_few_seeds_for_the_family_are_refused_with_the_number_that_is_needed(
    arms: int, seeds: int, needed: int | None
) -> None:
    made = make_plan(arms_sweep(each=("plain", "deep", "shallow")[:arms], seeds=seeds))
    if needed is None:
        assert not made.refusals
    else:
        assert made.refusals[0].startswith(f"{seeds} seeds are too few")
        assert f"{needed} seeds are needed" in made.refusals[0]


def test_alpha_that_looks_have_spent_counts() -> None:
    """6 seeds give p of .031 at best: enough at .05, not at the .044 that an early look leaves with two
    comparisons."""
    assert not make_plan(arms_sweep(seeds=6)).refusals
    two = ("plain", "deep", "shallow")
    assert not make_plan(arms_sweep(each=two, seeds=7)).refusals
    made = make_plan(arms_sweep(each=two, seeds=7, looks=[6, 7], alpha=0.05))
    assert "the alpha of the last look" in refused(made)


def test_a_look_that_can_settle_nothing_is_named() -> None:
    """At 8 of 12 seeds alpha is .0148, and 2 x 2^-7 is .0156."""
    three = ("plain", "deep", "shallow")
    notes = make_plan(arms_sweep(each=three, seeds=12, looks=[8, 12])).notes
    assert any(note.startswith("the look after 8 seeds can call nothing better or worse") for note in notes)
    notes = make_plan(arms_sweep(each=three, seeds=12, looks=[9, 12])).notes
    assert not any(note.startswith("the look after") for note in notes)


def test_too_few_replicates_are_refused_whatever_the_number_of_seeds() -> None:
    made = make_plan(arms_sweep(replicates=3, seeds=50))
    assert made.refusals[0].startswith("3 replicates are too few")
    assert "6 replicates are needed" in made.refusals[0]


def test_without_a_confirm_stage_nothing_is_promised() -> None:
    made = make_plan(sweep(), [pilot()], sd=0.01)
    assert made.refusals[0].startswith("no confirm stage")
    assert made.promise.detectable is None


def test_without_anything_to_compare_nothing_is_promised() -> None:
    assert refused(make_plan(sweep(confirm={"seeds": 9}))).startswith("nothing is compared")


def test_a_margin_below_what_can_be_shown_is_refused_and_above_it_not() -> None:
    made = make_plan(arms_sweep(seeds=8, margin=0.02), sd=0.02)
    assert made.refusals[0].startswith("the margin 0.02 is too small to show equivalence")
    at = made.promise.equivalent
    assert at is not None
    assert not make_plan(arms_sweep(seeds=8, margin=1.01 * at), sd=0.02).refusals
    assert make_plan(arms_sweep(seeds=8, margin=0.99 * at), sd=0.02).refusals
    enough = int(made.refusals[0].split("about ")[-1].split()[0])
    assert not make_plan(arms_sweep(seeds=enough, margin=0.02), sd=0.02).refusals


def test_an_effect_that_is_found_too_seldom_is_refused_only_if_it_was_asked_for() -> None:
    spec = arms_sweep(seeds=8)
    made = make_plan(spec, sd=0.02, effect=0.01)
    assert made.refusals[0].startswith("a difference of 0.01 is found with power 0.")
    assert not make_plan(spec, sd=0.02).refusals
    assert not make_plan(spec, sd=0.02, effect=0.05).refusals
    enough = int(made.refusals[0].split("about ")[-1].split()[0])
    assert power(0.01, 0.02, (enough,), (0.05,), 1, repetitions=1000).power == pytest.approx(0.8, abs=0.06)


def test_few_test_images_limit_what_any_number_of_seeds_shows(tmp_path: Path) -> None:
    ran = Ran(arms_sweep()).confirm(NOISY)
    rng = np.random.default_rng(0)
    per_arm = [rng.random(30) < 0.5, rng.random(30) < 0.5]
    for i in range(8):
        ran.correct[f"c{i:04d}"] = per_arm[i % 2]
    stored = read_pilot(ran.events, ran.write(tmp_path / "s"))
    spec = arms_sweep(seeds=9)
    made, images_known = make_plan(spec, [pilot()]), make_plan(spec, [stored], effect=0.1)
    assert made.promise.images is None
    assert images_known.promise.images == 30
    assert (images_known.promise.detectable or 0) > 2 * (made.promise.detectable or 0)
    assert "with so few test images" in refused(images_known)
    assert any("these test images only" in note for note in made.notes)
    assert not any("these test images only" in note for note in images_known.notes)


# --- promises --------------------------------------------------------------------------------------------


def test_the_difference_declared_is_found_with_the_power_declared() -> None:
    spec = arms_sweep(each=("plain", "deep", "shallow"), seeds=12, looks=[8, 12])
    made = make_plan(spec, sd=0.02, target=0.9)
    assert made.promise.detectable is not None
    found = power(made.promise.detectable, 0.02, (8, 12), made.design.alphas, 2, seed=11)
    assert 0.89 < found.power < 0.94


def test_what_is_declared_rests_on_the_upper_bound_of_the_sd() -> None:
    made = make_plan(arms_sweep(seeds=8), [pilot()])
    assert made.noise is not None
    planned, own = make_plan(arms_sweep(), sd=made.noise.cautious), make_plan(arms_sweep(), sd=made.noise.sd)
    assert made.promise.detectable == pytest.approx(planned.promise.detectable)
    assert own.promise.detectable is not None
    assert made.promise.within is not None
    low, high = made.promise.within
    assert low < own.promise.detectable < (made.promise.detectable or 0) < high
    assert made.promise.equivalent == pytest.approx(planned.promise.equivalent)


def test_a_given_sd_comes_before_that_of_pilots_whose_pace_still_counts() -> None:
    made = make_plan(arms_sweep(), [pilot()], sd=0.5)
    assert made.noise is not None
    assert (made.noise.source, made.noise.sd, made.promise.within) == ("given", 0.5, None)
    assert made.cost.paces["confirm plain"].seconds == 10.0


def test_power_is_told_at_the_margin_unless_an_effect_is_given() -> None:
    at_margin = make_plan(arms_sweep(margin=0.04), sd=0.02).promise
    assert (at_margin.effect, at_margin.asked) == (0.04, False)
    asked = make_plan(arms_sweep(margin=0.04), sd=0.02, effect=0.06).promise
    assert (asked.effect, asked.asked) == (0.06, True)
    assert (asked.power or 0) > (at_margin.power or 0) > 0
    inside = make_plan(arms_sweep(margin=0.04), sd=0.02, effect=0.01)
    assert any("lies within the margin" in note for note in inside.notes)


def test_more_seeds_find_smaller_differences() -> None:
    found = [make_plan(arms_sweep(seeds=n), sd=0.02).promise.detectable or 0.0 for n in (6, 8, 12)]
    assert found == sorted(found, reverse=True)
    assert min(found) > 0


def test_looks_save_seeds_most_when_every_arm_differs_and_the_cost_knows() -> None:
    spec = arms_sweep(each=("plain", "deep", "shallow"), seeds=12, looks=[9, 12])
    made = make_plan(spec, sd=0.02, effect=0.1)
    one, all_ = made.promise.mean_units, made.promise.mean_units_all
    assert one is not None
    assert all_ is not None
    assert 9 <= all_ < one <= 12
    trials = made.cost.amounts["confirm trials"]
    assert (trials.expected, trials.most) == (3 * round(one), 36)


def test_what_cannot_be_attained_has_no_detectable_difference() -> None:
    promise = make_plan(arms_sweep(seeds=4), sd=0.02, effect=10.0).promise
    assert (promise.detectable, promise.power) == (None, 0.0)


# --- what is not known, and what limits the claim --------------------------------------------------------


def test_without_a_pilot_noise_and_hours_are_unknown_and_the_seeds_are_still_checked() -> None:
    made = make_plan(arms_sweep(seeds=5, margin=0.02))
    assert made.noise is None
    assert made.promise.detectable is None
    assert any("whether equivalence within 0.02 can be shown: give --pilot" in what for what in made.unknown)
    assert any("how long an epoch takes" in what for what in made.unknown)
    assert made.refusals[0].startswith("5 seeds are too few")


def test_a_pilot_that_shares_no_seeds_says_so() -> None:
    made = make_plan(arms_sweep(), [pilot(scores={"plain": [0.5, 0.6]})])
    assert any("no two arms of a pilot share two seeds with probe.h.test" in what for what in made.unknown)


def test_replicates_are_not_planned_with_the_noise_of_seeds() -> None:
    made = make_plan(arms_sweep(replicates=6, seeds=4), [pilot()])
    assert made.noise is None
    assert any("seeds alone give the difference of a replicate an sd of" in what for what in made.unknown)
    ran = Ran(arms_sweep(replicates=3, seeds=2))
    for replicate, gain in enumerate((0.1, 0.3, 0.2)):
        ran.confirm({"plain": [0.5, 0.6], "deep": [0.5 + gain, 0.6 + gain]}, replicate=replicate)
    known = make_plan(arms_sweep(replicates=6, seeds=4), [read_pilot(ran.events)])
    assert known.noise is not None
    assert known.noise.sd == pytest.approx(0.1)
    assert any("confirm.seeds (2, here 4)" in note for note in known.notes)


@pytest.mark.parametrize(
    ("spec", "subject"),
    [
        (arms_sweep(), "kind of head"),
        (sweep(confirm={"seeds": 8, "references": {"slow": {"optim.lr": 0.01}}}), "setting"),
    ],
    ids=["heads", "learning rates"],
)
def test_one_search_an_arm_earns_a_claim_on_configurations_only(spec: SweepSpec, subject: str) -> None:
    note = make_plan(spec).notes[0]
    assert "these configurations differ" in note
    assert f"a {subject} is better takes arms with replicates, 6 or more" in note


def test_enough_replicates_earn_more_and_carry_no_such_note() -> None:
    assert not any("at most this" in note for note in make_plan(arms_sweep(replicates=6, seeds=2)).notes)


def test_noise_of_search_trials_is_said_to_be_weaker() -> None:
    ran = Ran(arms_sweep())
    for i, score in enumerate((0.5, 0.6, 0.4, 0.3)):
        ran.trial(f"t{i:04d}", ("plain", "deep")[i % 2], number=i // 2, metrics={"probe.h.val": score})
    made = make_plan(arms_sweep(), [read_pilot(ran.events)])
    assert any("rather an upper bound" in note for note in made.notes)


def test_a_pilot_of_another_kind_of_trial_is_named_with_what_differs() -> None:
    other = pilot(arms_sweep(epochs=1, resources={"slots": 3}, name="short"))
    note = next(note for note in make_plan(arms_sweep(), [other]).notes if "short" in note)
    assert "base.optim.epochs (1, here 3)" in note
    assert "resources.slots (3, here 1)" in note
    alike = make_plan(arms_sweep(seeds=6), [pilot()]).notes
    assert not any("differs in" in note for note in alike)


def test_a_plan_survives_being_kept_as_json() -> None:
    made = make_plan(arms_sweep(margin=0.05, controls=["pixels"]), [pilot()], effect=0.1)
    kept = TypeAdapter(Plan).dump_json(made)
    assert TypeAdapter(Plan).validate_json(kept) == made
