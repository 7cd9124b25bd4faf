"""The README's picture, drawn from a finished sweep."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure


def draw_spectra(trials: dict[str, Path], target: Path) -> None:
    """Singular values of h and z, relative to the largest, of each named trial's folder, as SVG."""
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, name in zip(axes, ("h", "z"), strict=True):
        for label, folder in trials.items():
            values = np.load(folder / "spectrum.npz")[name]
            axis.plot(np.arange(1, len(values) + 1), np.log10(values / values[0] + 1e-12), label=label)
        axis.set(title=f"{name}", xlabel="singular value", ylim=(-6, 0.2))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("log10 of share of the largest")
    axes[0].legend(frameon=False)
    target.parent.mkdir(exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "ablate"}):  # equal sweeps, equal bytes
        figure.savefig(target, metadata={"Date": None})
