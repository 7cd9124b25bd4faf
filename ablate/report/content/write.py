"""The report as files: a page, Markdown, LaTeX tables, figures and the table of all results."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pyarrow.parquet as pq

from ablate.durable import make_folder
from ablate.ledger import Ledger
from ablate.report.content.document import document_of
from ablate.report.content.material import LEDGER, material_of
from ablate.report.document.blocks import Figure, every
from ablate.report.document.html import page
from ablate.report.document.latex import tables
from ablate.report.document.markdown import markdown
from ablate.report.figures import standalone

FOLDER, FIGURES, PAGE = "report", "figures", "index.html"


def write_report(folder: Path) -> Path:
    """Write ``report/`` into a sweep's folder and return the path of its page.

    ``index.html``, ``report.md``, ``tables.tex``, ``figures/<id>.svg`` and ``results.parquet``: each replaced
    whole, and figures of an earlier report that are no more are removed. Raises what ``report_of`` and
    reading a ledger raise, and OSError.
    """
    m = material_of(folder, Ledger.read(folder / LEDGER))
    document, results = document_of(m), io.BytesIO()
    pq.write_table(m.results, results)
    figures = {f"{figure.id}.svg": standalone(figure) for figure in every(document, Figure)}
    target = folder / FOLDER
    make_folder(target / FIGURES)
    for name, svg in figures.items():
        _replace(target / FIGURES / name, svg.encode())
    for old in (target / FIGURES).glob("*.svg"):
        if old.name not in figures:
            old.unlink()
    _replace(target / "results.parquet", results.getvalue())
    _replace(target / "report.md", markdown(document, FIGURES).encode())
    _replace(target / "tables.tex", tables(document).encode())
    _replace(target / PAGE, page(document).encode())  # last: whoever sees it finds the rest
    return target / PAGE


def _replace(path: Path, content: bytes) -> None:
    """Write a file all at once."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
