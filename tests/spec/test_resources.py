"""``resources.gpus``: a number, a fraction, or auto, and what goes with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.spec.changes import as_measured, differences
from tests.search.synthetic import sweep
from tests.spec.files import GOOD, load, mistakes

FIRST = GOOD.count("\n") + 1  # the line of what is put below


def with_resources(text: str) -> str:
    return f"{GOOD}resources: {{{text}}}\n"


@pytest.mark.parametrize(("text", "value"), [("1", 1.0), ("0.25", 0.25), ("auto", "auto")])
def test_gpus_are_a_number_or_auto(tmp_path: Path, text: str, value: object) -> None:
    found = load(tmp_path, with_resources(f"gpus: {text}"))
    assert found.resources.gpus == value
    assert load(tmp_path, GOOD, f"resources.gpus={text}") == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gpus: automatic", "resources.gpus: found 'automatic'; expected a number, or auto"),
        ("gpus: true", "resources.gpus: found true; expected a number, or auto"),
        ("gpus: -1", "resources.gpus: found -1, must be at least 0"),
        ("gpus: 17", "resources.gpus: found 17, must be at most 16"),
        ("workers: 2, gpus: 0.5", "resources.gpus: several workers on one GPU fail under NCCL"),
        ("workers: 2, gpus: auto", "resources.gpus: several workers on one GPU fail under NCCL"),
    ],
)
def test_anything_else_is_one_mistake_at_its_place(tmp_path: Path, text: str, words: str) -> None:
    (line,) = mistakes(tmp_path, with_resources(text))
    assert line.startswith(f"{FIRST}:")
    assert words in line


def test_a_budget_of_gpu_hours_goes_with_auto_but_not_without_gpus(tmp_path: Path) -> None:
    hours = "search.budget={gpu_hours: 3}"
    assert load(tmp_path, with_resources("gpus: auto"), hours).search.budget.gpu_hours == 3
    (line,) = mistakes(tmp_path, with_resources("gpus: 0"), hours)
    assert "counts nothing while resources.gpus is 0" in line


def test_there_is_no_share_before_it_is_measured() -> None:
    assert sweep(resources={"gpus": 0.5}).resources.gpu_share == 0.5
    with pytest.raises(ValueError, match="not been measured"):
        _ = sweep(resources={"gpus": "auto"}).resources.gpu_share


def test_auto_is_what_was_measured_once_and_a_number_stays_a_change() -> None:
    recorded = sweep(resources={"gpus": 0.25})
    for gpus, changed in (("auto", {}), (0.5, {"resources.gpus": 0.5})):
        now = as_measured(sweep(resources={"gpus": gpus}), recorded)
        assert differences(recorded.as_dict(), now.as_dict()) == changed
