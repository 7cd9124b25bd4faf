"""Arrays that a trial left behind, as far as they can be read: a file may be cut short or damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def read_arrays(path: Path) -> dict[str, FloatArray]:
    """The arrays of an ``.npz`` file by name, each with one dimension; without those that are empty or not
    finite. None of them if the file is not there or not whole."""
    try:
        with np.load(path) as stored:
            found = {name: np.asarray(stored[name], dtype=np.float64) for name in stored.files}
    except Exception:  # damage shows itself as nearly any error: of zip, zlib, headers, pickles, memory
        return {}
    return {name: x for name, x in found.items() if x.ndim == 1 and x.size and np.isfinite(x).all()}
