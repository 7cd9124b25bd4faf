"""The figures of ``ablate.report.figures``, or, where one cannot be drawn, a paragraph that says why.

A number that no axis can show, such as a loss of 1e300, must not cost the reader the page.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from ablate.report import figures
from ablate.report.document.blocks import Figure, Paragraph

Drawn = Figure | Paragraph

_P = ParamSpec("_P")


def _or_said(draw: Callable[_P, Figure]) -> Callable[_P, Drawn]:
    @wraps(draw)
    def drawn(*args: _P.args, **named: _P.kwargs) -> Drawn:
        try:
            return draw(*args, **named)
        except (ValueError, ArithmeticError) as error:
            return Paragraph(f"Not drawn: {error}.")

    return drawn


bars = _or_said(figures.bars)
forest = _or_said(figures.forest)
heatmap = _or_said(figures.heatmap)
parallel = _or_said(figures.parallel)
xy = _or_said(figures.xy)
