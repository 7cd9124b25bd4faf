"""The picture of a trial's spectra: what shows dimensional collapse at a glance in MLflow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

_FLOOR = 1e-8  # below it float32 features hold no information


def plot_spectrum(stored: Path) -> Figure:
    """Singular values, relative to the largest, over their rank, of every array of ``spectrum.npz``.

    Logarithms are drawn on a plain axis in a fixed frame: matplotlib's log axis and its layout take five
    times as long, and this runs beside every trial.
    """
    figure = Figure(figsize=(6, 4), dpi=100)
    axes = figure.add_axes((0.1, 0.12, 0.87, 0.84))
    with np.load(stored) as spectra:
        for name in spectra.files:
            values = np.asarray(spectra[name], dtype=np.float64)
            if values.size and values.max() > 0:
                heights = np.log10(np.maximum(values / values.max(), _FLOOR))
                axes.plot(np.arange(1, values.size + 1), heights, label=name, linewidth=1.4)
    axes.set(xlabel="dimension, by singular value", ylabel="log10 (singular value / largest)")
    axes.set_ylim(np.log10(_FLOOR), 0.3)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(frameon=False, loc="lower left")
    return figure
