"""The picture of a trial's spectra: what shows dimensional collapse at a glance in MLflow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def plot_spectrum(stored: Path) -> Figure:
    """Singular values, relative to the largest, over their rank, of every array of ``spectrum.npz``."""
    figure = Figure(figsize=(6, 4), dpi=110, layout="constrained")
    axes = figure.subplots()
    with np.load(stored) as spectra:
        for name in spectra.files:
            values = np.asarray(spectra[name], dtype=np.float64)
            if values.size and values.max() > 0:
                axes.plot(np.arange(1, values.size + 1), values / values.max(), label=name, linewidth=1.4)
    axes.set(xlabel="dimension, by singular value", ylabel="singular value / largest", yscale="log")
    axes.set_ylim(1e-8, 2)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(frameon=False)
    return figure
