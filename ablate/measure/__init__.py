"""Measures of a frozen model: probes, spectra, and the geometry of embeddings."""

from ablate.measure.pairs import alignment, spread, uniformity
from ablate.measure.probes import fit_probe, knn_predict
from ablate.measure.spectrum import decay, effective_rank, lidar, rank_of, singular_values

__all__ = [
    "alignment",
    "decay",
    "effective_rank",
    "fit_probe",
    "knn_predict",
    "lidar",
    "rank_of",
    "singular_values",
    "spread",
    "uniformity",
]
