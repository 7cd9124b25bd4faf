"""How a search proposes configurations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ablate.spec.base import Spec


class TPE(Spec):
    """Optuna's tree-structured Parzen estimator."""

    kind: Literal["tpe"] = "tpe"
    startup: int = Field(8, ge=1, description="random trials first")
    multivariate: bool = True
    group: bool = Field(True, description="model conditional branches separately (experimental in Optuna)")


class RandomSampler(Spec):
    kind: Literal["random"] = "random"


class GP(Spec):
    """Optuna's Gaussian process over the keys that are always drawn, others at random; about a second an ask,
    more with hundreds of trials. It learns from completed trials, not from those stopped early."""

    kind: Literal["gp"] = "gp"
    startup: int = Field(10, ge=1, description="random trials first")


class CMAES(Spec):
    """Covariance matrix adaptation, over the keys that are numbers and always drawn; others at random.

    Unless ``sigma`` is given, a warm start gives it its first distribution.
    """

    kind: Literal["cma-es"] = "cma-es"
    startup: int = Field(8, ge=1, description="random trials first")
    sigma: float | None = Field(None, gt=0, description="first step, as a share of each range; null: a sixth")


class NSGA2(Spec):
    """Deb et al., 2002: the genetic algorithm for several objectives. It breeds the keys that are always
    drawn, and draws others at random; it learns from completed trials, not from those stopped early."""

    kind: Literal["nsga2"] = "nsga2"
    population: int = Field(20, ge=2, description="random trials first, and survivors of each generation")
    mutation: float | None = Field(None, ge=0, le=1, description="probability a key; null: 1 / keys")
    crossover: float = Field(0.9, ge=0, le=1)


class QMC(Spec):
    """A quasi-random sequence: random search that covers the space evenly."""

    kind: Literal["qmc"] = "qmc"
    sequence: Literal["sobol", "halton"] = "sobol"


class Grid(Spec):
    """Every combination, in an order shuffled by the seed, so that a search cut short still covers the space;
    the search ends when all were tried.

    A real range gives ``steps`` values, evenly spaced (in the logarithm if it is a log range).
    """

    kind: Literal["grid"] = "grid"
    steps: int = Field(4, ge=2, le=1000)


class Exhaustive(Spec):
    """Every combination of a space without real ranges, shuffled by the seed."""

    kind: Literal["exhaustive"] = "exhaustive"


SamplerSpec = Annotated[
    TPE | RandomSampler | GP | CMAES | NSGA2 | QMC | Grid | Exhaustive, Field(discriminator="kind")
]
