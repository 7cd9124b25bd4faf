"""What all writers of documents have to know about a text: which parts are code, and which are numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ablate.report.document.blocks import Table

_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_CODE = re.compile(r"`([^`]+)`")
_MINUS = re.compile(r"(?<![\w.)\]%-])-(?=\.?\d|inf\b)")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:e[+-]?\d+)?|\.\d+|\b(?:inf|nan)\b")
_BESIDE_NUMBERS = re.compile(
    r"(?:[\s\[\](),:/%<>=~±\N{MULTIPLICATION SIGN}≤≥≈+\N{MINUS SIGN}-]|\b(?:of|to|h|d|min|s|ms|[kMG]B)\b)*"
)


def printable(text: str) -> str:
    """``text`` with U+FFFD for what no document can hold: control characters and halves of characters."""
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", text)


def spans(text: str) -> Iterator[tuple[str, bool]]:
    """The parts of a text, in order, and whether each is code; a backquote without its partner is itself."""
    for place, part in enumerate(_CODE.split(printable(text))):
        if part:
            yield part, place % 2 == 1


def with_minus(text: str, sign: str) -> str:
    """``text`` with ``sign`` for each hyphen that is the minus of a number."""
    return _MINUS.sub(lambda _: sign, text)


def is_number(text: str) -> bool:
    """Whether a text is a number, or made of numbers: an interval, a share, a time, ``8 of 12``."""
    rest, count = _NUMBER.subn(" ", text)
    return count > 0 and _BESIDE_NUMBERS.fullmatch(rest) is not None


def numeric_columns(table: Table) -> list[bool]:
    """Which columns hold numbers only, and so are set to the right; never the first, which names the row."""
    columns = zip(*([c.text.strip() for c in row] for row in table.rows), strict=True)
    found = [_numeric(column) for column in columns] or [False] * len(table.head)
    return [False, *found[1:]]


def _numeric(column: Sequence[str]) -> bool:
    values = [text for text in column if any(map(str.isalnum, text))]  # a dash says that nothing is there
    return bool(values) and all(map(is_number, values))
