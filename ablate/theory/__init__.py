"""Claims of the papers, checked by small computations: what ``ablate theory`` runs.

A file a paper or experiment (``directclr``, ``xue``, ``sparsehead``, ``bilevel``, ``margins``), each a function from
its spec to claims; ``linear_net`` and ``toy_losses`` are what the toys are made of. Nothing is trained here but
linear layers and one tanh; where training uses an objective of ``ablate.objective``, so do the checks.
"""

from ablate.theory.claim import Claim
from ablate.theory.run import CHECKS, Answer, answer

__all__ = ["CHECKS", "Answer", "Claim", "answer"]
