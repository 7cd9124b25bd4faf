"""A document taken apart again: its tables and figures by id, its texts, and the marks of a figure."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ablate.ledger import Ledger
from ablate.report.content import report_of
from ablate.report.document.blocks import (
    Block,
    Bullets,
    Code,
    Document,
    Figure,
    Folded,
    Paragraph,
    Section,
    Table,
    run_id,
)


def report(folder: Path) -> Document:
    """The report of a sweep's folder."""
    return report_of(folder, Ledger.read(folder / "ledger.jsonl"))


def blocks(of: Iterable[Block]) -> Iterator[Block]:
    """All of them, with those that are folded away."""
    for block in of:
        yield block
        if isinstance(block, Folded):
            yield from blocks(block.blocks)


def all_blocks(document: Document) -> list[Block]:
    return [*blocks(document.answer), *(b for section in document.sections for b in blocks(section.blocks))]


def section(document: Document, id: str) -> Section:
    return next(section for section in document.sections if section.id == id)


def tables(document: Document) -> dict[str, Table]:
    return {b.id: b for b in all_blocks(document) if isinstance(b, Table)}


def figures(document: Document) -> dict[str, Figure]:
    return {b.id: b for b in all_blocks(document) if isinstance(b, Figure)}


def texts(of: Iterable[Block]) -> list[str]:
    """Everything that is said in sentences, and the code."""
    found = []
    for block in blocks(of):
        match block:
            case Paragraph(text) | Code(text):
                found.append(text)
            case Bullets(items):
                found += [line for item in items for line in (item.text, *item.notes)]
            case Folded(title):
                found.append(title)
    return found


def said(of: Iterable[Block]) -> str:
    return "\n".join(texts(of))


def column(table: Table, name: str) -> dict[str, str]:
    """The texts of a column by the first cell of each row."""
    place = table.head.index(name)
    return {row[0].text: row[place].text for row in table.rows}


def places(document: Document) -> set[str]:
    """Every id on the page: of sections, tables, figures and runs."""
    found = {section.id for section in document.sections}
    for block in all_blocks(document):
        if isinstance(block, (Table, Figure)):
            found.add(block.id)
        if isinstance(block, Table) and block.id.startswith("runs-"):
            found |= {run_id(row[0].text) for row in block.rows}
    return found


@dataclass(frozen=True)
class Point:
    """What a figure shows of a run: one number an axis, or all of a line's."""

    trial: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    values: tuple[float | str | None, ...] = ()


def points(figure: Figure) -> list[Point]:
    """Everything in a figure that leads to a run."""
    found = []
    for element in ET.fromstring(figure.svg).iter():
        trial = element.get("data-trial")
        if trial:
            values = json.loads(element.get("data-values", "[]"))
            x, y = (_numbers(element.get(name)) for name in ("data-x", "data-y"))
            found.append(Point(trial, x, y, tuple(values)))
    return found


def _numbers(text: str | None) -> tuple[float, ...]:
    return tuple(float(part) for part in text.replace(",", " ").split()) if text else ()
