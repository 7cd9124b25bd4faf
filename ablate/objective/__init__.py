"""What is minimised: one pure function or small module a file, over plain tensors.

``info_nce`` pulls the two views of an image together and pushes other images away; ``margins`` bends its
positive logit; ``sparsity`` holds the penalties, proximal operators and measures of SparseHead.
"""

from ablate.objective.info_nce import info_nce, info_nce_local
from ablate.objective.margins import margin_positive
from ablate.objective.sparsity import (
    group_count,
    penalty,
    proximal_step_,
    sparsity_measures,
    weight_from_shrink,
)

__all__ = [
    "group_count",
    "info_nce",
    "info_nce_local",
    "margin_positive",
    "penalty",
    "proximal_step_",
    "sparsity_measures",
    "weight_from_shrink",
]
