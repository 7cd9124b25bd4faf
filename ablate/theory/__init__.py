"""Claims of the papers, checked by small computations: what ``ablate theory`` runs.

A file a paper (``directclr``, ``xue``, ``sparsehead``, ``bilevel``, ``margins``), each with functions from a
spec to claims; ``linear_net`` and ``toy_losses`` are what the toys are made of. Nothing is trained here but
linear layers and one tanh. Where training has the objective, the checks use that one.
"""

from ablate.theory.claim import Claim
from ablate.theory.run import CHECKS, Answer, answer

__all__ = ["CHECKS", "Answer", "Claim", "answer"]
