"""What is code in a text, what is a number, and which hyphens are minus signs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.report.document.blocks import table
from ablate.report.document.spans import is_number, numeric_columns, spans, with_minus


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain", [("plain", False)]),
        ("set `a.b` to 1", [("set ", False), ("a.b", True), (" to 1", False)]),
        ("`a` and `b`", [("a", True), (" and ", False), ("b", True)]),
        ("one ` alone", [("one ` alone", False)]),
        ("`a` and ` alone", [("a", True), (" and ` alone", False)]),
        ("nothing in ``", [("nothing in ``", False)]),
        ("", []),
    ],
)
def test_backquotes_mark_code(text: str, parts: list[tuple[str, bool]]) -> None:
    assert list(spans(text)) == parts


def test_what_no_document_can_hold_is_replaced() -> None:
    assert list(spans("a\x00b\x1b[31m\ud800")) == [("a\ufffdb\ufffd[31m\ufffd", False)]


@given(st.text(alphabet="ab` "))
def test_no_character_but_the_marks_is_lost(text: str) -> None:
    assert "".join(f"`{part}`" if code else part for part, code in spans(text)) == text


@given(st.floats(allow_nan=False), st.sampled_from(["", "[", "(", "a ", "= "]))
def test_the_hyphen_of_every_negative_number_is_a_minus(value: float, before: str) -> None:
    text = with_minus(f"{before}{value!r}", "m")
    assert text == f"{before}{'m' if repr(value).startswith('-') else ''}{repr(value).lstrip('-')}"


@pytest.mark.parametrize(
    "text", ["sparse - mlp", "mlp-3", "2024-01-02", "1e-05", "a--5", "well-known", "3-4", "-"]
)
def test_other_hyphens_stay(text: str) -> None:
    assert with_minus(text, "m") == text


@pytest.mark.parametrize(
    "text",
    ["0.5", "-0.07", "[-0.1172, -0.0264]", "8 of 12", "67%", "1e-05", "3 min",
     "1,024", "<0.001", ".5", "-inf", "0.31 [0.30, 0.32]"],
)  # fmt: skip
def test_numbers_and_what_is_made_of_them(text: str) -> None:
    assert is_number(text)


@pytest.mark.parametrize(
    "text", ["t0007", "mlp", "", "-", "9e6e045f7a216be3", "2 trials", "head.depth=3", "layer 1"]
)
def test_what_is_no_number(text: str) -> None:
    assert not is_number(text)


@given(st.floats(), st.floats())
def test_every_number_that_python_writes_is_one(a: float, b: float) -> None:
    assert is_number(repr(a))
    assert is_number(f"[{a:+.4f}, {b:.3g}]")


def test_columns_of_numbers_may_have_gaps_but_no_words() -> None:
    rows = [
        ["1", "0.5", "-", "1", "-"],
        ["2", "-", "-", "one", "- [-, -]"],
        ["3", "0.7", "", "3", "0.1 [0, 1]"],
    ]
    made = table("t", "", ["seed", "score", "nothing", "mixed", "band"], rows)
    assert numeric_columns(made) == [False, True, False, False, True]


def test_tables_without_rows_have_no_columns_of_numbers() -> None:
    assert numeric_columns(table("t", "", ["a", "b"], [])) == [False, False]
