"""How wide texts are, without a browser: wide enough for the widest font that a page may fall back to."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left

LINE = 19.0  # units from one line of text to the next
BOLD = 1.1  # times the width of plain text
_ROUNDING = 1e-6

# Thousandths of the font size, as in DejaVu Sans, which is wider than the usual fonts of screens.
_WIDTHS = {
    300: "'IJijl",
    350: " ,./:;\\|",
    400: "-f!()[]t",
    500: 'r"*_`',
    550: "sz?cFL",
    600: "kvxy",
    650: "PTYaeo$0123456789ESbdghnpqu{}",
    700: "KABCRVXZ",
    800: "NUDGH&OQ",
    850: "w#+<=>^~M\u2212\u00d7\u2192",
    1000: "%m@W\u2026",
}
_WIDTH = {character: thousandths / 1000 for thousandths, group in _WIDTHS.items() for character in group}
_BREAKS = re.compile(r"(?<=[ \-_./=,:;+])")


def width(text: str, size: float = 15.0) -> float:
    """An upper bound of the width of ``text`` in units, in usual fonts."""
    return size * sum(_of(c) for c in text)


def _of(character: str) -> float:
    if character in _WIDTH:
        return _WIDTH[character]
    if unicodedata.combining(character):
        return 0.0
    return 1.05 if unicodedata.east_asian_width(character) in "WF" or ord(character) > 0xFFFF else 0.75


def shorten(text: str, room: float, size: float = 15.0) -> str:
    """``text``, or its beginning and end with an ellipsis between if it is wider than ``room``: names of arms
    and parameters often differ at their ends."""
    if width(text, size) <= room + _ROUNDING:
        return text
    kept = bisect_left(range(1, len(text)), True, key=lambda k: width(_cut(text, k), size) > room + _ROUNDING)
    return _cut(text, kept)


def _cut(text: str, kept: int) -> str:
    """Its first and last characters, ``kept`` in all."""
    return f"{text[: (kept + 1) // 2].rstrip()}\u2026{text[len(text) - kept // 2 :].lstrip()}"


def wrap(text: str, room: float, lines: int, size: float = 15.0) -> list[str]:
    """``text`` in at most ``lines`` lines no wider than ``room``, broken after spaces and punctuation; what
    does not fit is shortened."""
    pieces, found = _BREAKS.split(text), [""]
    for i, piece in enumerate(pieces):
        if not found[-1] or width((found[-1] + piece).rstrip(), size) <= room:
            found[-1] += piece
        elif len(found) < lines:
            found.append(piece)
        else:
            found[-1] += "".join(pieces[i:])
            break
    return [shorten(line.rstrip(), room, size) for line in found]


def fits(text: str, room: float, lines: int, size: float = 15.0) -> bool:
    """Whether ``wrap`` shows the whole ``text``."""
    shown = "".join(wrap(text, room, lines, size))
    return shown.replace(" ", "") == text.replace(" ", "")
