"""Proposals that do not depend on any result: grids, and quasi-random sequences.

Made here, because Optuna's grid knows no conditions and starts again once it is exhausted, and its QMC draws
at random until a first trial has finished, then for the keys of that trial only.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from scipy.stats.qmc import Halton, Sobol

from ablate.spec.draw import draw, order
from ablate.spec.grid import combinations, levels, value_at
from ablate.spec.sampler import QMC, Exhaustive, Grid
from ablate.spec.space import Distribution, Scalar
from ablate.spec.streams import stream_seed
from ablate.spec.trial import TrialSpec

Params = dict[str, Scalar]


class GridPlan:
    """Every combination, in an order that the seed shuffles; those already tried are left out."""

    def __init__(
        self, spec: Grid | Exhaustive, space: Mapping[str, Distribution], base: TrialSpec, seed: int
    ) -> None:
        self._space, self._base, self._seed = space, base, seed
        self._steps = spec.steps if isinstance(spec, Grid) else 1
        self._rest = list(combinations(space, self._steps, base))
        random.Random(stream_seed("grid", seed)).shuffle(self._rest)
        self._rest.reverse()  # taken from the end
        self._tried: set[str] = set()

    def tried(self, params: Mapping[str, Scalar]) -> None:
        """``params`` were proposed, by whomever: they will not be again."""
        self._tried.add(_name(params))

    def next(self) -> Params | None:
        """A combination that was not tried; None if none is left."""
        while self._rest:
            params = self._rest.pop()
            if _name(params) not in self._tried:
                return params
        return None

    def fill(self, number: int, point: Mapping[str, Scalar]) -> Params:
        """``point`` completed with values of the grid, drawn at random."""
        generator = random.Random(stream_seed("point", self._seed, number))
        return draw(
            self._space,
            lambda key, entry: point[key] if key in point else generator.choice(levels(entry, self._steps)),
            self._base,
        )


def quasi_random(
    spec: QMC, space: Mapping[str, Distribution], base: TrialSpec, seed: int, number: int
) -> Params:
    """Point ``number`` of a scrambled sequence with one dimension a key, whether or not the key is drawn."""
    kind = Sobol if spec.sequence == "sobol" else Halton
    engine = kind(len(space), scramble=True, rng=stream_seed("qmc", seed))
    if number:  # scipy cannot go forward by nothing
        engine.fast_forward(number)
    shares = dict(zip(order(space), engine.random(1)[0], strict=True))
    return draw(space, lambda key, entry: value_at(entry, float(shares[key])), base)


def _name(params: Mapping[str, Scalar]) -> str:
    return repr(sorted(params.items()))
