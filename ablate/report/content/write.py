"""The report as files: a page, Markdown, LaTeX tables, figures and the table of all results."""

from __future__ import annotations

from pathlib import Path

from ablate.durable import make_folder, replace_file
from ablate.ledger import Ledger
from ablate.report.content.document import document_of
from ablate.report.content.material import LEDGER, material_of
from ablate.report.document.blocks import Figure, every
from ablate.report.document.html import page
from ablate.report.document.latex import tables
from ablate.report.document.markdown import markdown
from ablate.report.figures import standalone
from ablate.report.results import parquet_bytes

FOLDER, FIGURES, PAGE = "report", "figures", "index.html"


def write_report(folder: Path) -> Path:
    """Write ``report/`` into a sweep's folder and return the path of its page.

    ``index.html``, ``report.md``, ``tables.tex``, ``figures/<id>.svg`` and ``results.parquet``: each replaced
    whole, and figures of an earlier report that are no more are removed. Raises what ``report_of`` and
    reading a ledger raise, and OSError.
    """
    m = material_of(folder, Ledger.read(folder / LEDGER))
    document = document_of(m)
    figures = {f"{figure.id}.svg": standalone(figure) for figure in every(document, Figure)}
    target = folder / FOLDER
    make_folder(target / FIGURES)
    for name, svg in figures.items():
        replace_file(target / FIGURES / name, svg.encode())
    for old in (target / FIGURES).glob("*.svg"):
        if old.name not in figures:
            old.unlink()
    replace_file(target / "results.parquet", parquet_bytes(m.results))
    replace_file(target / "report.md", markdown(document, FIGURES).encode())
    replace_file(target / "tables.tex", tables(document).encode())
    replace_file(target / PAGE, page(document).encode())  # last: whoever sees it finds the rest
    return target / PAGE
