"""Population based training, carried out: it finds a schedule, and children are their parents' children."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.sweep.noisy_quadratic import START, after, best_constant, best_schedule, searched
from tests.sweep.real_population import run_population


def test_the_best_schedule_is_what_its_formula_says() -> None:
    v = START
    for _ in range(30):
        v = after(v, v / (v + 1.0))
    assert v == pytest.approx(best_schedule(30), rel=1e-12)
    assert best_constant(30) > 2 * best_schedule(30)


@pytest.mark.parametrize("seed", range(3))
def test_a_population_does_better_than_any_constant_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
    scheduler = {"kind": "pbt", "every": 2, "mutate": ["optim.lr"]}
    loss, epochs = searched(tmp_path, scheduler, trials=12, epochs=30, seed=seed)
    assert epochs == 12 * 30
    assert best_schedule(30) < loss < best_constant(30)


def test_children_of_real_trials_go_on_from_their_parents_weights(tmp_path: Path) -> None:
    children = run_population(tmp_path, tmp_path / "cache")
    assert len(children) == 2
    for child in children:
        assert child.same_digest
        assert child.same_numbers
        assert child.other_parameters
    last = children[-1]
    identity = json.loads((tmp_path / "population/trials" / last.child / "identity.json").read_text())
    assert [link["trial"] for link in identity["lineage"]][-1] == last.parent
    assert identity["lineage"][-1]["epochs"] == last.epoch
