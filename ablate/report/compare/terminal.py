"""A document printed on a terminal. Figures are left out, and counted."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ablate.report.document.blocks import (
    Block,
    Bullets,
    Code,
    Document,
    Figure,
    Folded,
    Paragraph,
    Table,
    every,
)
from ablate.report.page import rich_table

_RUNS = "runs"  # the section that only links lead to


def show(document: Document, console: Console) -> None:
    """Print it, without the lists of runs."""
    console.print(Text.assemble((document.title, "bold"), f"  {document.question}"))
    _show(document.answer, console)
    for section in document.sections:
        if section.id != _RUNS:
            console.print()
            console.print(Text(section.title, style="bold"))
            _show(section.blocks, console)
    if count := len(list(every(document, Figure))):
        figures = "1 figure" if count == 1 else f"{count} figures"
        _line(f"{figures} and every run: --html FILE", console, "dim")


def _show(blocks: Sequence[Block], console: Console) -> None:
    for block in blocks:
        match block:
            case Paragraph(text):
                _line(f"  {text}", console)
            case Bullets(items):
                for item in items:
                    _line(f"  {item.text}", console)
                    for note in item.notes:
                        _line(f"    {note}", console)
            case Table(caption=caption, head=head, rows=rows):
                grid = rich_table(list(head), [[cell.text for cell in row] for row in rows])
                for column in grid.columns:
                    column.overflow = "fold"  # a long name goes on below: nothing is cut off
                console.print("", grid, sep="\n")
                _line(f"  {caption}", console, "dim")
            case Code(text):
                console.print(text.rstrip("\n"), highlight=False, markup=False, soft_wrap=True)
            case Folded(blocks=inner):
                _show(inner, console)
            case Figure():
                pass


def _line(text: str, console: Console, style: str | None = None) -> None:
    console.print(text, style=style, highlight=False, markup=False)
