"""Figures as SVG: charts that the report and papers show, without a drawing library.

They carry class names, not colours; ``figure.css`` beside this file gives them their looks in light and dark.
A page puts that file into a <style>; later rules on ``svg.fig`` may set the custom properties ``--fig-*`` to
the page's own colours and font. What holds a figure needs ``overflow-x: auto``. Class names:

    svg.fig           every figure, 720 units wide; ``narrow``: 440, for several side by side and for phones;
                      ``wide``: as wide as its content takes
    text              15 units; ``tick`` and ``note``: 14, muted; ``ink``: not muted; ``head``: bold;
                      ``middle``, ``end``: anchors; ``halo``: over lines; ``weak``, ``strong``: on colours of
                      a heatmap that are
    grid, rule, zero  lines of the grid, of axes, and where a difference is none
    margin            differences that do not matter
    mark, line, band  points, curves, and their intervals; ``faint``: a thin curve in the background,
                      thinner among ``many`` and less so among ``few``
    under             keeps a curve apart from what it crosses
    bar, reach        a bar and its interval
    range, seed       an interval of a forest plot, and a seed's difference
    c0 ... c7, quiet  colours of groups, and of what belongs to none
    s1 ... s7         dash patterns of groups, solid without
    hollow            a mark that is not filled: nothing is established
    q0 ... q6         cells of a heatmap from low to high; ``d0`` ... ``d6``: from below a value to above it;
                      ``absent``: not measured

Every run is a link to its row: <a href="#run-t0007" data-trial="t0007" data-x="0.25" data-y="0.5">.
"""

from ablate.report.figures.axes import Axis
from ablate.report.figures.bars import Bar, bars
from ablate.report.figures.forest import Row, forest
from ablate.report.figures.heatmap import heatmap
from ablate.report.figures.marks import Mark
from ablate.report.figures.parallel import Dimension, parallel
from ablate.report.figures.series import Series
from ablate.report.figures.standalone import standalone, stylesheet
from ablate.report.figures.xy import xy

__all__ = [
    "Axis",
    "Bar",
    "Dimension",
    "Mark",
    "Row",
    "Series",
    "bars",
    "forest",
    "heatmap",
    "parallel",
    "standalone",
    "stylesheet",
    "xy",
]
