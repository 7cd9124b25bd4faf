"""What differs between sweeps, and the sweep that would make a claim of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ablate.report.compare.proposal import proposal
from ablate.report.compare.settings import origins, settings
from ablate.spec.load import load_sweep
from ablate.spec.yaml_file import dump_yaml
from tests.report.compare.two_sweeps import ARMS, change, compared, made, side, written
from tests.report.made_sweep import Made


def two(runs: Path, **changes: Any) -> tuple[Path, Path]:
    other = made("two")
    for key, value in changes.items():
        change(other, key.replace("__", "."), value)
    return written(runs, made("one")), written(runs, other)


def test_a_setting_that_differs_is_shown_as_the_file_would_say_it(tmp_path: Path) -> None:
    folders = two(tmp_path, base__optim__epochs=5, base__loss__temperature=0.5, search__trials=9)
    found = {s.key: (s.part, s.values) for s in settings([side(folder) for folder in folders])}
    assert found == {
        "base.loss.temperature": ("base", ("0.2", "0.5")),
        "base.optim.epochs": ("base", ("3", "5")),
        "search.trials": ("search", ("2", "9")),
    }


def test_names_questions_and_tracking_are_no_settings(tmp_path: Path) -> None:
    folders = two(tmp_path, question="another?")
    assert settings([side(folder) for folder in folders]) == ()


def test_what_only_one_sweep_has_is_absent_in_the_other(tmp_path: Path) -> None:
    folders = written(tmp_path, made("one")), Made("two").search().confirm().write(tmp_path / "two")
    found = {s.key: s.values for s in settings([side(folder) for folder in folders])}
    assert found["arms.each.deep"] == ("{head.depth: 3}", "-")
    assert found["arms.each.plain"] == ("{}", "-")
    assert found["space.head.kind"] == ("-", "{choice: [mlp, directclr]}")
    assert found["space.optim.lr"][0] == "{role: nuisance, float: [0.01, 1.0], log: true}"


def test_data_are_named_by_what_sets_them_apart(tmp_path: Path) -> None:
    folders = two(tmp_path, base__data__train=100)
    assert compared(*folders).data == {"A": "digits (train=None)", "B": "digits (train=100)"}
    assert [s.part for s in compared(*folders).settings] == ["data"]


def test_code_and_machine_are_read_from_what_trials_recorded(tmp_path: Path) -> None:
    folders = (
        written(tmp_path, made("one"), code="1", device="cpu"),
        written(tmp_path, made("two"), code="2", device="cpu"),
    )
    found = {o.name: (o.differs, o.values) for o in origins([side(folder) for folder in folders])}
    assert found["code"] == (True, ("1", "2"))
    assert found["device"] == (False, ("cpu", "cpu"))


FACTORS = {
    "design": "full",
    "factors": {
        "deep": {"no": {}, "yes": {"head.depth": 3}},
        "wide": {"no": {}, "yes": {"head.hidden": 256}},
    },
}


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        (ARMS, ["plain", "deep", "wide", "plain-B", "deep-B", "wide-B"]),
        (None, ["A", "B"]),
        (
            FACTORS,
            [f"deep={d},wide={c},setting={s}" for d in ("no", "yes") for c in ("no", "yes") for s in "AB"],
        ),
    ],
)
def test_the_proposal_is_a_file_that_loads_and_holds_both_settings(
    tmp_path: Path, arms: dict[str, Any] | None, expected: list[str]
) -> None:
    one, other = _nuisances("one", arms), change(_nuisances("two", arms), "base.loss.temperature", 0.5)
    for sweep in (one, other):
        sweep.write(tmp_path / sweep.sweep.name)
    sides = [side(tmp_path / name, letter) for name, letter in (("one", "A"), ("two", "B"))]
    new, why = proposal(sides[0], sides[1])
    assert why == ""
    (tmp_path / "one.yaml").write_text(dump_yaml(sides[0].sweep))
    (tmp_path / "both.yaml").write_text(dump_yaml({"extends": "one.yaml", "name": "both", "arms": new}))
    found = load_sweep(tmp_path / "both.yaml").bases
    assert sorted(found) == sorted(expected)
    assert sum(base.as_dict()["loss"]["temperature"] == 0.5 for base in found.values()) == len(found) / 2


def _nuisances(name: str, arms: dict[str, Any] | None) -> Made:
    """Every key of its space is a nuisance, as in a sweep with arms."""
    sweep = Made(name, arms=arms, confirm={"references": {}} if arms is None else {})
    entries = sweep.events[0]["sweep"]["space"]
    for key in list(entries):
        if key.startswith("head"):
            del entries[key]
        else:
            entries[key]["role"] = "nuisance"
    return sweep


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("base.data.train", 100, "data.train differs, and arms are compared on the same images"),
        ("base.measure.knn", 5, "measure.knn differs, and arms are measured alike"),
        ("base.head.depth", 1, "head.depth differs, and an arm sets it as well"),
        ("search.trials", 5, "their base is the same"),
        ("base.optim.lr", 0.7, "what differs in their base is drawn by the search anyway"),
    ],
)
def test_where_one_sweep_cannot_hold_both_the_reason_is_said(
    tmp_path: Path, key: str, value: Any, why: str
) -> None:
    folders = written(tmp_path, made("one")), written(tmp_path, change(made("two"), key, value))
    arms, said = proposal(side(folders[0], "A"), side(folders[1], "B"))
    assert arms == {}
    assert why in said
