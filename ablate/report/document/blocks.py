"""What a document is made of: plain values, without a word on how they look.

Texts are plain, not Markdown or HTML; `backquotes` mark code. ``to`` is the id of the place on the same page
that a number can be traced to: a run (``run_id``), a group of runs, a section, a figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True)
class Cell:
    """One cell of a table. ``to``: where its number comes from, "" if nowhere."""

    text: str
    to: str = ""


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Item:
    """A point of a list, with points of its own."""

    text: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bullets:
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Table:
    """``id`` is unique in the document; ``caption`` says what a row is. The first column names the row."""

    id: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Figure:
    """``svg`` is one whole <svg> element; ``description`` says in words what it shows, for who cannot see it,
    and ``caption`` how to read it."""

    id: str
    title: str
    description: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Code:
    """A text to copy, such as a YAML file or a command."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown on demand, under their ``title``."""

    title: str
    blocks: tuple[Block, ...]


Block = Paragraph | Bullets | Table | Figure | Code | Folded
B = TypeVar("B", Table, Figure)


@dataclass(frozen=True)
class Section:
    """``id`` is unique in the document."""

    id: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """``question`` is what it answers and ``answer`` what comes first; ``facts`` are short (name, value)
    pairs about where it comes from."""

    title: str
    question: str
    answer: tuple[Block, ...]
    sections: tuple[Section, ...]
    facts: tuple[tuple[str, str], ...]


def every(document: Document, kind: type[B]) -> Iterator[B]:
    """All blocks of a kind, in the order of the page; those that are folded away too."""
    for blocks in (document.answer, *(section.blocks for section in document.sections)):
        yield from _every(blocks, kind)


def _every(blocks: Iterable[Block], kind: type[B]) -> Iterator[B]:
    for block in blocks:
        if isinstance(block, kind):
            yield block
        if isinstance(block, Folded):
            yield from _every(block.blocks, kind)


def run_id(trial: str) -> str:
    """The id of the place on the page where the run of ``trial`` is listed."""
    return f"run-{trial}"


def group_id(stage: str, arm: str) -> str:
    """The id of the place where the runs of an arm in a stage are listed."""
    return f"runs-{stage}-{slug(arm)}"


def slug(text: str) -> str:
    """``text`` as a part of an id: letters, digits and hyphens; other characters by their code point, so that
    different texts stay different."""
    return "".join(c if c.isascii() and c.isalnum() else "-" if c in " -" else f"_{ord(c):x}_" for c in text)


def table(id: str, caption: str, head: Sequence[str], rows: Iterable[Sequence[str | Cell]]) -> Table:
    """A table of texts and cells."""
    cells = (tuple(c if isinstance(c, Cell) else Cell(c) for c in row) for row in rows)
    return Table(id, caption, tuple(head), tuple(cells))


def bullets(lines: Iterable[str]) -> Bullets:
    """A list without notes."""
    return Bullets(tuple(Item(line) for line in lines))
