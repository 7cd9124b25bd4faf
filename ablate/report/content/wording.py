"""Numbers and tables in the form that all parts of a report share; every number leads to its runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ablate.report.analysis import document as analysed
from ablate.report.document.blocks import (
    Block,
    Bullets,
    Cell,
    Code,
    Folded,
    Item,
    Table,
    bullets,
    group_id,
    run_id,
)
from ablate.report.words import Rows

To = Callable[[Sequence[str]], str]  # the texts of a row -> the id of the place where its numbers are from


def shown(value: float | None) -> str:
    """Four digits, or a hyphen."""
    return "-" if value is None else f"{value:.4g}"


def spread(values: Sequence[float]) -> str:
    """Mean and range: ``0.54 [0.5, 0.57]``; a single value alone, and a hyphen for none."""
    if not values:
        return "-"
    mean = sum(values) / len(values)
    return shown(mean) if len(values) == 1 else f"{shown(mean)} [{shown(min(values))}, {shown(max(values))}]"


def run_cell(trial: str) -> Cell:
    """A trial, leading to where it is listed."""
    return Cell(trial, run_id(trial))


def group_cell(text: str, stage: str, arm: str) -> Cell:
    """A number that is taken over the runs of an arm, leading to their list."""
    return Cell(text, group_id(stage, arm) if text != "-" else "")


def linked(id: str, caption: str, rows: Rows, to: To) -> Table:
    """A table of texts in which every cell with something in it leads to where the row is from."""
    head, body = rows
    cells = (tuple(Cell(text, to(row) if text not in ("", "-") else "") for text in row) for row in body)
    return Table(id, caption, tuple(head), tuple(cells))


def items(found: Iterable[tuple[str, Sequence[str]]]) -> Bullets:
    """A list in which every point may have points of its own."""
    return Bullets(tuple(Item(text, tuple(notes)) for text, notes in found))


def of_analysis(section: analysed.Section, id: str, captions: Sequence[str], to: To) -> list[Block]:
    """A section of `ablate analyse` as blocks; its tables are called ``id-1``, ``id-2``, ..., and
    ``captions`` say what their rows are."""
    assert len(captions) >= len(section.tables), f"{id}: tables without captions"
    tables = zip(section.tables, captions, strict=False)
    found: list[Block] = [
        linked(f"{id}-{i}", caption, rows, to) for i, (rows, caption) in enumerate(tables, 1)
    ]
    found += [Code(section.file, "yaml")] if section.file else []
    return [*found, *([bullets(section.lines)] if section.lines else [])]


def folded(section: analysed.Section, id: str, captions: Sequence[str], to: To) -> Folded:
    """The same, on demand; without a table its title says that it is not given."""
    title = section.title if section.tables or section.file else f"{section.title}: none"
    return Folded(title, tuple(of_analysis(section, id, captions, to)))


def plural(count: int, noun: str) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
