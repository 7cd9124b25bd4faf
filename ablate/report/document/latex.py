r"""The tables of a document as LaTeX, ruled with booktabs, to be put into a paper.

A table that is too wide for a page is several ones, each with the first column; one that is too long for a
page is a longtable. Whatever pdfLaTeX cannot set is written as its code point, in brackets.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ablate.report.document.blocks import Document, Table, every
from ablate.report.document.spans import numeric_columns, spans, with_minus

_HEADER = r"""% Each table stands alone: take what you need. In the preamble:
% \usepackage[T1]{fontenc}
% \usepackage{array, booktabs, longtable}
"""
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "`": r"\textasciigrave{}",
    "\N{NO-BREAK SPACE}": "~",
    "\N{EN DASH}": r"\textendash{}",
    "\N{EM DASH}": r"\textemdash{}",
    "\N{LEFT SINGLE QUOTATION MARK}": r"\textquoteleft{}",
    "\N{RIGHT SINGLE QUOTATION MARK}": r"\textquoteright{}",
    "\N{LEFT DOUBLE QUOTATION MARK}": r"\textquotedblleft{}",
    "\N{RIGHT DOUBLE QUOTATION MARK}": r"\textquotedblright{}",
    "\N{ZERO WIDTH SPACE}": r"\allowbreak{}",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
}
_MATHS = {
    "\N{MINUS SIGN}": "-",
    "\N{MULTIPLICATION SIGN}": r"\times",
    "\N{PLUS-MINUS SIGN}": r"\pm",
    "\N{MIDDLE DOT}": r"\cdot",
    "\N{DIVISION SIGN}": r"\div",
    "\N{DEGREE SIGN}": r"^{\circ}",
    "\N{SUPERSCRIPT TWO}": "^{2}",
    "\N{SUPERSCRIPT THREE}": "^{3}",
    "\N{LESS-THAN OR EQUAL TO}": r"\le",
    "\N{GREATER-THAN OR EQUAL TO}": r"\ge",
    "\N{NOT EQUAL TO}": r"\ne",
    "\N{ALMOST EQUAL TO}": r"\approx",
    "\N{RIGHTWARDS ARROW}": r"\to",
    "\N{INFINITY}": r"\infty",
    "\N{SQUARE ROOT}": r"\surd",
    "\N{MICRO SIGN}": r"\mu",
}
_PLAIN_GREEK = ("alpha", "beta", "gamma", "delta", "epsilon", "eta", "theta", "kappa", "mu", "nu", "xi", "pi",
                "rho", "sigma", "tau", "phi", "chi", "psi", "omega")  # fmt: skip
_GREEK = {unicodedata.lookup(f"GREEK SMALL LETTER {name.upper()}"): rf"\{name}" for name in _PLAIN_GREEK}
_GREEK["\N{GREEK SMALL LETTER LAMDA}"] = r"\lambda"
_GREEK["\N{GREEK CAPITAL LETTER DELTA}"] = r"\Delta"
_GREEK["\N{GREEK CAPITAL LETTER SIGMA}"] = r"\Sigma"
_LETTERS = {chr(code) for code in range(0xC0, 0x100)}  # of Western Europe, which T1 has
_DASH = "\N{EN DASH}"  # where nothing is
_UNBROKEN = re.compile(r"(?<!\S)\S{25,}")  # such as a digest
_LIGATURE = re.compile(r"([-',])(?=\1)")  # two of them would be set as another character
_WIDE = 80  # characters beside each other in \footnotesize, on the 345 pt of article's text
_FLOATS = 10  # tables in a row: without text between them LaTeX can hold some 50 back, and then stops
_PAGE = r"\clearpage"
_TEXT = 30  # characters: a longer text is broken into lines
_ROWS = 40  # on one page


def tables(document: Document) -> str:
    r"""Every table of the document, each a ``table`` or ``longtable`` labelled ``tab:<id>``, in its order."""
    made = [text for table in every(document, Table) for text in _parts(table)]
    groups = ("\n".join(made[i : i + _FLOATS]) for i in range(0, len(made), _FLOATS))
    return f"{_HEADER}\n" + f"\n{_PAGE}\n\n".join(groups)


def escaped(text: str) -> str:
    """``text`` on one line as LaTeX sets it; minus signs of numbers in maths, code in typewriter."""
    line = _UNBROKEN.sub(_breakable, " ".join(text.split()))
    parts = (_code(part) if code else _plain(part) for part, code in spans(line))
    return _LIGATURE.sub(r"\1{}", "".join(parts))


def _breakable(word: re.Match[str]) -> str:
    """A long word with places where a line may end."""
    return "\N{ZERO WIDTH SPACE}".join(re.findall(".{1,12}", word[0]))


@dataclass(frozen=True)
class _Column:
    """``width`` is in characters, ``cells`` are LaTeX, the head first."""

    cells: tuple[str, ...]
    width: int
    numeric: bool

    @property
    def broken(self) -> bool:
        return self.width > _TEXT

    @property
    def taken(self) -> int:
        """Characters beside each other, with the space between columns."""
        return min(self.width, _TEXT) + 3


def _parts(table: Table) -> Iterator[str]:
    first, *others = _columns(table)
    groups = _fitting(first, others)
    for number, group in enumerate(groups, 1):
        part = f" ({number} of {len(groups)})" if len(groups) > 1 else ""
        label = f"tab:{table.id}" + (f"-{number}" if number > 1 else "")
        yield "\n".join(_one([first, *group], escaped(table.caption) + part, label))


def _columns(table: Table) -> list[_Column]:
    rows = ([_DASH if cell.text == "-" else cell.text for cell in row] for row in table.rows)
    texts = zip(table.head, *rows, strict=True)
    return [
        _Column(tuple(map(escaped, column)), max(map(len, column)), numeric)
        for column, numeric in zip(texts, numeric_columns(table), strict=True)
    ]


def _fitting(first: _Column, others: Sequence[_Column]) -> list[list[_Column]]:
    """Columns in their order, in groups that fit beside the first; at least one a group."""
    groups: list[list[_Column]] = [[]]
    for column in others:
        taken = sum(c.taken for c in (first, *groups[-1], column))
        if groups[-1] and taken > _WIDE:
            groups.append([])
        groups[-1].append(column)
    return groups


def _one(columns: Sequence[_Column], caption: str, label: str) -> list[str]:
    head, *rows = map(_row, zip(*(c.cells for c in columns), strict=True))
    names = f"{{{''.join(map(_aligned, columns))}}}"
    named = rf"\caption{{{caption}}}\label{{{label}}}"
    if len(rows) > _ROWS:
        return _long(names, named, head, rows)
    return [
        r"\begin{table}[htbp]",
        r"\centering\footnotesize",
        named,
        rf"\begin{{tabular}}{names}",
        r"\toprule",
        head,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]


def _row(cells: Sequence[str]) -> str:
    """A row that begins with a bracket or a star would be read as an option of what is before it."""
    row = " & ".join(cells) + r" \\"
    return f"{{}}{row}" if row.startswith(("[", "*")) else row


def _long(names: str, named: str, head: str, rows: Sequence[str]) -> list[str]:
    return [
        r"\begingroup\footnotesize",
        rf"\begin{{longtable}}{names}",
        rf"{named} \\",
        r"\toprule",
        head,
        r"\midrule",
        r"\endfirsthead",
        r"\toprule",
        head,
        r"\midrule",
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
        *rows,
        r"\end{longtable}",
        r"\endgroup",
        "",
    ]


def _aligned(column: _Column) -> str:
    if column.broken:
        return rf">{{\raggedright\arraybackslash}}p{{{_TEXT / _WIDE:.2f}\linewidth}}"
    return "r" if column.numeric else "l"


def _code(text: str) -> str:
    return rf"\texttt{{{''.join(map(_character, text))}}}"


def _plain(text: str) -> str:
    return "".join(map(_character, with_minus(text, "\N{MINUS SIGN}")))


def _character(c: str) -> str:
    if c in _SPECIAL:
        return _SPECIAL[c]
    if maths := _MATHS.get(c) or _GREEK.get(c):
        return f"${maths}$"
    if " " <= c <= "~" or c in _LETTERS:
        return c
    return f"[U+{ord(c):04X}]"
