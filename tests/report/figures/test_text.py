"""Texts are fitted to the room there is, and nothing is lost that fits."""

from hypothesis import given
from hypothesis import strategies as st

from ablate.report.figures.text import fits, shorten, width, wrap

WORDS = st.text("abcdefgh ._-/=\u4e2d", max_size=60)


@given(WORDS, st.floats(20, 400))
def test_a_shortened_text_fits_and_keeps_its_ends(text: str, room: float) -> None:
    short = shorten(text, room)
    assert width(short) <= room + 1e-3
    if short != text:
        head, tail = short.split("\u2026")
        assert text.startswith(head)
        assert text.endswith(tail)


@given(WORDS, st.floats(20, 400), st.integers(1, 4))
def test_lines_fit_and_hold_the_text(text: str, room: float, lines: int) -> None:
    wrapped = wrap(text, room, lines)
    assert len(wrapped) <= lines
    assert all(width(line) <= room + 1e-3 for line in wrapped)
    whole = "".join(wrapped).replace(" ", "") == text.replace(" ", "")
    assert whole == fits(text, room, lines)
    assert whole or any("\u2026" in line for line in wrapped)


def test_more_room_needs_no_shortening() -> None:
    assert wrap("head.kwargs.sparsity", 1000, 1) == ["head.kwargs.sparsity"]
    assert wrap("head.kwargs.sparsity", 120, 2) == ["head.kwargs.", "sparsity"]


def test_a_long_text_is_shortened_at_once() -> None:
    assert len(shorten("name" * 100_000, 200)) < 40
