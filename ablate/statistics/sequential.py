"""How alpha is spent over looks at the growing number of seeds.

Testing at 5% after every seed finds a difference between equals far more often than 5% of the time. A fixed
list of looks, each with its own share of alpha, does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def alphas(looks: Sequence[int], alpha: float, rho: float = 3.0) -> tuple[float, ...]:
    """The alpha of each look; they add up to ``alpha``.

    ``looks`` are the numbers of units n_1 < ... < n_K at which the data are tested. Spending follows the
    power family of Kim and DeMets (1987): alpha (n_k / n_K)^rho is spent up to look k, so early looks need
    strong evidence. The shares are added (the union bound), so the total error is at most ``alpha`` whatever
    the dependence between looks, and so with the exact sign-flip test as well; published boundaries that use
    the dependence spend it all and need normal statistics. ValueError unless looks are strictly increasing
    and positive, 0 < alpha < 1 and rho > 0.
    """
    if not looks or looks[0] < 1 or any(a >= b for a, b in pairwise(looks)):
        raise ValueError(f"looks must be positive and strictly increasing, not {list(looks)}")
    if not 0 < alpha < 1 or not rho > 0:
        raise ValueError(f"need 0 < alpha < 1 and rho > 0, not alpha {alpha} and rho {rho}")
    spent = [0.0, *(alpha * (n / looks[-1]) ** rho for n in looks)]
    return tuple(after - before for before, after in pairwise(spent))
