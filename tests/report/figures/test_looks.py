"""Colours can be told from the paper in light and dark, and files of figures need nothing else."""

import re
from importlib.resources import files
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from ablate.report.figures import standalone
from tests.report.figures.cases import CASES

CSS = files("ablate.report.figures").joinpath("figure.css").read_text()
BLOCKS = [dict(re.findall(r"(--fig-[\w-]+): ([^;]+);", part)) for part in CSS.split(":where(")[1:4]]
LIGHT, DARK = BLOCKS[0], BLOCKS[0] | BLOCKS[1]
both_themes = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])


def contrast(a: str, b: str) -> float:
    """The contrast ratio of two colours, by the definition of WCAG 2."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_dark_is_the_same_by_preference_and_by_choice() -> None:
    assert BLOCKS[1] == BLOCKS[2]
    assert set(BLOCKS[1]) == set(BLOCKS[0]) - {"--fig-font"}


@both_themes
def test_groups_are_seen_on_the_paper(theme: dict[str, str]) -> None:
    for name in [f"--fig-c{i}" for i in range(8)] + ["--fig-rule"]:
        assert contrast(theme[name], theme["--fig-paper"]) >= 3, name


@both_themes
def test_texts_are_read_on_the_paper_and_on_cells(theme: dict[str, str]) -> None:
    for ink in ("--fig-ink", "--fig-muted"):
        assert contrast(theme[ink], theme["--fig-paper"]) >= 4.5
    for kind, strong in (("q", (4, 5, 6)), ("d", (0, 1, 5, 6))):
        for i in range(7):
            ink = theme["--fig-strong" if i in strong else "--fig-weak"]
            assert contrast(ink, theme[f"--fig-{kind}{i}"]) >= 4.5, (kind, i)


@both_themes
def test_steps_of_a_heatmap_stand_out_more_from_step_to_step(theme: dict[str, str]) -> None:
    away = [contrast(theme[f"--fig-q{i}"], theme["--fig-paper"]) for i in range(7)]
    assert all(a < b for a, b in pairwise(away))


def test_every_property_used_is_defined() -> None:
    assert set(re.findall(r"var\((--fig-[\w-]+)\)", CSS)) <= set(LIGHT)


@pytest.mark.parametrize("name", ["verdicts", "curves_of_runs", "differences_map"])
def test_a_file_stands_alone(name: str) -> None:
    text = standalone(CASES[name]())
    root = ElementTree.fromstring(text.encode())
    assert root.attrib["role"] == "img"
    assert not list(root.iter("{http://www.w3.org/2000/svg}a"))
    assert "var(" not in text
    light, dark = text.split("@media screen and (prefers-color-scheme: dark)")
    assert f".ink {{ fill: {LIGHT['--fig-ink']}; }}" in light
    assert f".ink {{ fill: {DARK['--fig-ink']}; }}" in dark


def test_a_file_keeps_the_numbers_and_the_drawing() -> None:
    figure = CASES["scatter"]()
    text = standalone(figure)
    for attribute in ("data-trial", "data-x", "data-y", " d"):
        pattern = rf'{attribute}="([^"]*)"'
        assert re.findall(pattern, text) == re.findall(pattern, figure.svg)
