"""Measures of a frozen model: probes, spectra, and the geometry of embeddings."""

from ablate.measure.dfr import GroupScores, fit_dfr, group_scores
from ablate.measure.pairs import alignment, spread, uniformity
from ablate.measure.probes import fit_probe, knn_predict
from ablate.measure.shares import between_share
from ablate.measure.spectrum import decay, effective_rank, lidar, rank_of, singular_values

__all__ = [
    "GroupScores",
    "alignment",
    "between_share",
    "decay",
    "effective_rank",
    "fit_dfr",
    "fit_probe",
    "group_scores",
    "knn_predict",
    "lidar",
    "rank_of",
    "singular_values",
    "spread",
    "uniformity",
]
