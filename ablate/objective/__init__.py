"""What is minimised: one pure function or small module a file, over plain tensors.

- ``info_nce``, over views or keys; ``margins`` bends its positive logit, ``effects`` isolates what that does;
- ``alignment`` (positives only), ``barlow_twins``, ``vicreg``, ``spectral``, ``supcon``;
- ``sparsity`` holds the penalties, proximal operators and measures of SparseHead.
"""

from ablate.objective.alignment import alignment_loss
from ablate.objective.barlow_twins import barlow_twins
from ablate.objective.effects import MarginOptions, gradient_scales
from ablate.objective.info_nce import info_nce, info_nce_keys, info_nce_local
from ablate.objective.margins import gradient_factors, margin_positive
from ablate.objective.sparsity import (
    group_count,
    penalty,
    proximal_step_,
    sparsity_measures,
    weight_from_shrink,
)
from ablate.objective.spectral import spectral_contrastive
from ablate.objective.supcon import supcon
from ablate.objective.vicreg import vicreg

__all__ = [
    "MarginOptions",
    "alignment_loss",
    "barlow_twins",
    "gradient_factors",
    "gradient_scales",
    "group_count",
    "info_nce",
    "info_nce_keys",
    "info_nce_local",
    "margin_positive",
    "penalty",
    "proximal_step_",
    "sparsity_measures",
    "spectral_contrastive",
    "supcon",
    "vicreg",
    "weight_from_shrink",
]
