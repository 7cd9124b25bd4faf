"""A document as GitHub Markdown.

Texts are escaped, so that an arm called ``a_b_c`` or a value with a pipe in it stays what it is. Links within
the page are left out, since Markdown has no places that a cell could lead to; links elsewhere stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from ablate.report.document.blocks import (
    Block,
    Bullets,
    Cell,
    Code,
    Document,
    Figure,
    Folded,
    Item,
    Paragraph,
    Table,
)
from ablate.report.document.spans import numeric_columns, printable, spans

# An underscore within a word means nothing, and neither does a bracket without a target.
_SPECIAL = re.compile(r"(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])|[\\`*<>&~$#]")
_SPECIAL_IN_LINK = re.compile(_SPECIAL.pattern + r"|[\[\]]")
_BACKSLASH = r"\\\g<0>"
_AT_START = re.compile(r"^(?:(\d{1,9})([.)])(?=\s|$)|([-+=\[]))")
_URL = str.maketrans({" ": "%20", "(": "%28", ")": "%29", "<": "%3C", ">": "%3E", "|": "%7C"})


def markdown(document: Document, figures: str = "figures") -> str:
    """The document as Markdown; figures are pictures in the folder ``figures``, named after their ids."""
    lines = [f"# {_text(document.question)}", "", *_blocks(document.answer, figures)]
    lines += [f"- {_line(name)}: {_text(value)}" for name, value in document.facts]
    lines += [""] if document.facts else []
    for section in document.sections:
        lines += [f"## {_text(section.title)}", "", *_blocks(section.blocks, figures)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _blocks(blocks: Sequence[Block], figures: str) -> Iterator[str]:
    """The lines of blocks, an empty one after each."""
    for block in blocks:
        yield from _block(block, figures)
        yield ""


def _block(block: Block, figures: str) -> Iterator[str]:
    match block:
        case Paragraph(text):
            yield _line(text)
        case Bullets(items):
            for item in items:
                yield from _item(item)
        case Code(text, language):
            yield from _code(text.rstrip(), language)
        case Table():
            yield from _table(block)
        case Figure():
            yield f"![{_text(block.title)}]({f'{figures}/{block.id}.svg'.translate(_URL)})"
            if block.caption:
                yield from ["", f"**{_text(block.title.rstrip('.'))}.** {_text(block.caption)}"]
        case Folded(title, inner):
            yield from ["<details>", f"<summary>{_as_html(title)}</summary>", ""]
            yield from _blocks(inner, figures)
            yield "</details>"


def _item(item: Item) -> Iterator[str]:
    yield f"- {_line(item.text)}"
    yield from (f"  - {_line(note)}" for note in item.notes)


def _code(text: str, language: str) -> Iterator[str]:
    """Fenced by more backquotes than it has in a row."""
    text = printable(text)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    yield f"{fence}{language}"
    yield from text.splitlines()
    yield fence


def _table(table: Table) -> Iterator[str]:
    if table.caption:
        yield from [_line(table.caption), ""]
    yield _row(_in_cell(name) for name in table.head)
    yield _row("---:" if numeric else "---" for numeric in numeric_columns(table))
    yield from (_row(map(_cell, row)) for row in table.rows)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    if not cell.to.startswith(("http://", "https://")):
        return _in_cell(cell.text)
    return f"[{_in_cell(cell.text, _SPECIAL_IN_LINK)}]({cell.to.translate(_URL)})"


def _line(text: str) -> str:
    """A text that begins a line, where a number with a dot, a hyphen or a bracket would begin something."""
    return _AT_START.sub(lambda m: f"{m[1]}\\{m[2]}" if m[1] else f"\\{m[3]}", _text(text))


def _text(text: str) -> str:
    return "".join(f"`{part}`" if code else _escaped(part) for part, code in spans(_flat(text)))


def _in_cell(text: str, special: re.Pattern[str] = _SPECIAL) -> str:
    """A text between pipes. Code that has pipes is an element: in backquotes nothing can be escaped."""
    parts = ((part, _escaped(part, special).replace("|", "\\|"), code) for part, code in spans(_flat(text)))
    return "".join(
        (f"<code>{safe}</code>" if "|" in part else f"`{part}`") if code else safe
        for part, safe, code in parts
    )


def _escaped(text: str, special: re.Pattern[str] = _SPECIAL) -> str:
    return special.sub(_BACKSLASH, text)


def _as_html(text: str) -> str:
    """For the line of a <details>, which is not read as Markdown."""
    parts = ((escape(part, quote=False), code) for part, code in spans(_flat(text)))
    return "".join(f"<code>{part}</code>" if code else part for part, code in parts)


def _flat(text: str) -> str:
    """``text`` on one line."""
    return " ".join(text.split())
