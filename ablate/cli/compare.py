"""`ablate compare`: two sweeps or more, side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli.analyse import recorded
from ablate.cli.errors import refuse, sweep_folder, user_errors
from ablate.cli.operate import Runs

if TYPE_CHECKING:
    from ablate.report.document.blocks import Document

app = typer.Typer()


@app.command()
def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Two sweeps or more: their names in --runs, or their folders.", show_default=False
        ),
    ],
    runs: Runs = Path("runs"),
    html_file: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write one self-contained page, with figures."),
    ] = None,
    markdown_file: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Write Markdown, and its figures beside it."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers there too.")
    ] = None,
) -> None:
    """Put sweeps side by side: settings, shared arms, verdicts, and differences as far as they compare.

    Differences between sweeps are exploration, never verdicts. Over different data sets: aggregates.
    """
    if len(names) < 2:
        refuse("a comparison takes two sweeps or more")
    folders = [_folder(name, runs) for name in names]
    with _comparing():
        from rich.console import Console

        from ablate.report.compare.document import document_of
        from ablate.report.compare.terminal import show
        from ablate.report.compare.whole import compare as compare_all

        labels = _labels(names, folders)
        read = [(label, folder, recorded(folder)) for label, folder in zip(labels, folders, strict=True)]
        found = compare_all(read)
        document = document_of(found)
    show(document, Console())
    if json_file is not None:
        _write(json_file, json.dumps(found.as_dict(), indent=1, allow_nan=False) + "\n")
    if html_file is not None:
        from ablate.report.document.html import page

        _write(html_file, page(document))
    if markdown_file is not None:
        _write_markdown(markdown_file, document)


def _folder(name: str, runs: Path) -> Path:
    """The sweep called ``name`` in ``runs``, or the folder of that path."""
    here = Path(name)
    if not (runs / name / "sweep.json").is_file() and (here / "sweep.json").is_file():
        return here
    return sweep_folder(name, runs)


def _labels(names: list[str], folders: list[Path]) -> list[str]:
    """The names of the folders, or where two are called alike what was typed."""
    short = [folder.resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else names


@contextmanager
def _comparing() -> Iterator[None]:
    """Turn errors meant for the user, and that there is nothing to compare, into their message."""
    from ablate.report.compare.side import NotComparable

    with user_errors():
        try:
            yield
        except NotComparable as error:
            refuse(str(error))


def _write_markdown(file: Path, document: Document) -> None:
    from ablate.report.document.blocks import Figure, every
    from ablate.report.document.markdown import markdown
    from ablate.report.figures import standalone

    folder = file.with_name(f"{file.stem}-figures")
    _write(file, markdown(document, folder.name))
    for figure in every(document, Figure):
        _write(folder / f"{figure.id}.svg", standalone(figure))


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        refuse(f"{file}: cannot be written: {error.strerror}", 1)
