"""A document as one self-contained HTML page: no network, no font, no script but its own.

The page is complete without its script, which only adds comfort: sorting, a filter for the runs, a switch
between light and dark. A content security policy allows the inlined style and script by their digests, and
nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from itertools import groupby

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
    Section,
    Table,
    run_id,
)
from ablate.report.document.spans import numeric_columns, printable, spans, with_minus

_INTERVAL = re.compile(r"(\[[^\s\[\]]+,) (?=[^\s\[\]]+\])")
_APOSTROPHE = re.compile(r"(?<=[^\W\d_])'(?=[^\W\d_])")
_LONG = 25  # rows: a longer table scrolls within the page
_FEW = 3  # columns: if they hold no numbers, long words are broken rather than scrolled to
_SHORT = 24  # characters of the name of a row
_POLL_MS = 2000


def page(document: Document, *, live: bool = False) -> str:
    """The page of ``document``, from ``<!doctype html>`` to the end.

    A ``live`` page asks its own address for itself again every two seconds, with ``If-None-Match``, and takes
    over the sections that changed (a 304 answer changes nothing); scroll position, focus, open parts, order
    and filter of tables stay. Raises ValueError if two parts of the document have the same id.
    """
    _refuse_equal_ids(document)
    style = _asset("document", "style.css") + _asset("figures", "figure.css")
    script = (_asset("document", "live.js") if live else "") + _asset("document", "page.js")
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en" data-live="{_POLL_MS}">' if live else '<html lang="en">',
            *_head(document, style, script, live=live),
            *_body(document),
            f"<script>{script}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _head(document: Document, style: str, script: str, *, live: bool) -> list[str]:
    policy = [
        "default-src 'none'",
        f"style-src '{_digest(style)}'",
        f"script-src '{_digest(script)}'",
        "img-src data:",
        *(["connect-src 'self'"] if live else []),
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return [
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(policy)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta name="referrer" content="no-referrer">',
        '<link rel="icon" href="data:,">',
        f"<title>{_plain(document.title)}</title>",
        f"<style>{style}</style>",
        "</head>",
    ]


def _body(document: Document) -> Iterator[str]:
    yield "<body>"
    yield '<a class="skip" href="#page-answer">Skip to the answer</a>'
    yield '<header class="bar">'
    yield f'<p class="name">{_plain(document.title)}</p>'
    yield '<p id="page-state" role="status"></p>'
    yield '<button type="button" id="page-theme" hidden>Dark colours</button>'
    yield "</header>"
    yield '<div class="page">'
    yield from _nav(document.sections)
    yield '<main id="page-main">'
    yield f"<h1>{_text(document.question)}</h1>"
    yield from _section(Section("page-answer", "Answer", document.answer), "answer")
    yield from _facts(document.facts)
    for section in document.sections:
        yield from _section(section)
    yield "</main>"
    yield "</div>"


def _nav(sections: Sequence[Section]) -> Iterator[str]:
    yield '<nav id="page-nav" aria-label="Sections">'
    yield "<ul>"
    yield '<li><a href="#page-answer">Answer</a></li>'
    yield from (f'<li><a href="#{escape(s.id)}">{_text(s.title)}</a></li>' for s in sections)
    yield "</ul>"
    yield "</nav>"


def _facts(facts: Sequence[tuple[str, str]]) -> Iterator[str]:
    if facts:
        yield '<dl id="page-facts" class="facts">'
        yield from (f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in facts)
        yield "</dl>"


def _section(section: Section, look: str = "") -> Iterator[str]:
    id = escape(section.id)
    yield f'<section id="{id}"{f" class={look}" if look else ""} aria-labelledby="{id}-title">'
    yield f'<h2 id="{id}-title">{_text(section.title)}</h2>'
    yield from _blocks(section.blocks)
    yield "</section>"


def _blocks(blocks: Sequence[Block]) -> Iterator[str]:
    """Figures that follow one another stand side by side where there is room."""
    for drawn, together in groupby(blocks, lambda block: isinstance(block, Figure)):
        if drawn:
            yield '<div class="figures">'
        for block in together:
            yield from _block(block)
        if drawn:
            yield "</div>"


def _block(block: Block) -> Iterator[str]:
    match block:
        case Paragraph(text):
            yield f"<p>{_text(text)}</p>"
        case Bullets(items):
            yield "<ul>"
            yield from map(_item, items)
            yield "</ul>"
        case Code(text, language):
            kind = f' class="language-{escape(language)}"' if language else ""
            yield f'<pre tabindex="0"><code{kind}>{_plain(text.rstrip())}</code></pre>'
        case Folded(title, blocks):
            yield f"<details><summary>{_text(title)}</summary>"
            yield from _blocks(blocks)
            yield "</details>"
        case Table():
            yield from _table(block)
        case Figure():
            yield from _figure(block)


def _item(item: Item) -> str:
    notes = "".join(f"<li>{_text(note)}</li>" for note in item.notes)
    return f"<li>{_text(item.text)}{f'<ul>{notes}</ul>' if notes else ''}</li>"


def _figure(figure: Figure) -> Iterator[str]:
    id = escape(figure.id)
    yield f'<figure id="{id}" class="drawn">'
    yield f'<p class="title" id="{id}-name">{_text(figure.title)}</p>'
    yield f'<div class="scroll" role="group" aria-labelledby="{id}-name" tabindex="0">{figure.svg}</div>'
    if figure.caption:
        yield f"<figcaption>{_text(figure.caption)}</figcaption>"
    yield "</figure>"


def _table(table: Table) -> Iterator[str]:
    id, numeric = escape(table.id), numeric_columns(table)
    look = "scroll long" if len(table.rows) > _LONG else "scroll"
    yield '<figure class="tabular">'
    yield f'<figcaption id="{id}-name">{_text(table.caption)}</figcaption>'
    yield f'<div class="{look}" role="group" aria-labelledby="{id}-name" tabindex="0">'
    yield f'<table id="{id}"{_looks(table, numeric)} aria-labelledby="{id}-name">'
    head = (f'<th scope="col"{_aligned(n)}>{_text(t)}</th>' for t, n in zip(table.head, numeric, strict=True))
    yield f"<thead><tr>{''.join(head)}</tr></thead>"
    yield "<tbody>"
    for row, place in zip(table.rows, _row_ids(table), strict=True):
        yield _row(row, place, numeric)
    yield "</tbody></table>"
    yield "</div>"
    yield "</figure>"


def _looks(table: Table, numeric: Sequence[bool]) -> str:
    """Where a table may break lines: not in short names, but anywhere in words with no numbers beside."""
    looks = ["named"] if all(len(row[0].text) <= _SHORT for row in table.rows) else []
    looks += ["words"] if len(table.head) <= _FEW and not any(numeric) else []
    return f' class="{" ".join(looks)}"' if looks else ""


def _row(row: Sequence[Cell], place: str, numeric: Sequence[bool]) -> str:
    """``place`` is the id of the row, "" if it has none."""
    name, *others = row
    cells = (f"<td{_aligned(n)}>{_cell(cell)}</td>" for cell, n in zip(others, numeric[1:], strict=True))
    start = f'<tr id="{escape(place)}">' if place else "<tr>"
    return f'{start}<th scope="row">{_cell(name)}</th>{"".join(cells)}</tr>'


def _row_ids(table: Table) -> list[str]:
    """A table of runs has a place for each of them, which numbers elsewhere link to."""
    runs = table.id.startswith("runs-")
    return [run_id(row[0].text) if runs else "" for row in table.rows]


def _aligned(numeric: bool) -> str:
    return ' class="n"' if numeric else ""


def _cell(cell: Cell) -> str:
    text = "\N{EN DASH}" if cell.text == "-" else _text(cell.text)
    if not cell.to:
        return text
    if cell.to.startswith(("http://", "https://")):
        return f'<a href="{escape(cell.to)}" rel="noreferrer">{text}</a>'
    return f'<a href="#{escape(cell.to)}">{text}</a>'


def _text(text: str) -> str:
    """``text`` with its code marked, true minus signs and apostrophes, and intervals kept on one line."""
    return "".join(f"<code>{_plain(part)}</code>" if code else _prose(part) for part, code in spans(text))


def _prose(text: str) -> str:
    curly = _APOSTROPHE.sub("\N{RIGHT SINGLE QUOTATION MARK}", text)
    return _plain(_INTERVAL.sub("\\1\N{NO-BREAK SPACE}", with_minus(curly, "\N{MINUS SIGN}")))


def _plain(text: str) -> str:
    return escape(printable(text), quote=False)


def _refuse_equal_ids(document: Document) -> None:
    seen: set[str] = set()
    for id in _ids(document):
        if id in seen:
            raise ValueError(f"two parts of the document have the id {id!r}: links to it would be ambiguous")
        seen.add(id)


def _ids(document: Document) -> Iterator[str]:
    yield from _ids_of(document.answer)
    for section in document.sections:
        yield section.id
        yield from _ids_of(section.blocks)


def _ids_of(blocks: Sequence[Block]) -> Iterator[str]:
    for block in blocks:
        match block:
            case Table():
                yield block.id
                yield from filter(None, _row_ids(block))
            case Figure():
                yield block.id
            case Folded():
                yield from _ids_of(block.blocks)


def _asset(package: str, name: str) -> str:
    return resources.files(f"ablate.report.{package}").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
