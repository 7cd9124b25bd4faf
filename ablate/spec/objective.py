"""What a search makes large or small, and what it must not violate."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ablate.spec.base import Spec, wrong

# What a trial reports as it trains. Metrics of the test split are read once, at the end, never searched on.
METRICS = (
    "loss", "views_per_second", "probe.h.val", "probe.z.val", "knn.h.val", "knn.z.val", "rank.h.effective",
    "rank.h.rankme", "rank.h.alpha", "rank.h.alpha_distance", "rank.h.lidar", "rank.z.effective",
    "rank.z.rankme", "rank.z.alpha", "rank.z.alpha_distance", "rank.z.lidar", "alignment", "uniformity",
    "spread.z", "head.zeros", "head.active_inputs", "head.hoyer",
)  # fmt: skip
TEST_METRICS = ("probe.h.test", "probe.z.test", "knn.h.test", "knn.z.test")
_OF_LABELS = ("probe.", "knn.")


def is_label_free(metric: str) -> bool:
    """Whether no label is needed to measure it."""
    return not metric.startswith(_OF_LABELS)


def needs_views(metric: str) -> bool:
    """Whether it is measured on several views an image, and so only if ``measure.lidar`` asks for them."""
    return metric.endswith(".lidar")


def _known(metric: str) -> str:
    if metric in TEST_METRICS:
        raise wrong("", f"{metric!r} is read once, at the end; search on a validation metric")
    if metric not in METRICS:
        near = get_close_matches(metric, METRICS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise wrong("", f"unknown metric {metric!r}{hint} (allowed: {', '.join(METRICS)})")
    return metric


Metric = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": [*METRICS]})]


class Objective(Spec):
    """A metric and the direction in which it is better."""

    metric: Metric = "probe.h.val"
    mode: Literal["max", "min"] = "max"


class Constraint(Spec):
    """A trial whose ``metric`` lies outside is infeasible: it is never chosen, and the sampler is told."""

    metric: Metric
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Constraint:
        if self.at_least is None and self.at_most is None:
            raise wrong("", "give at_least, at_most or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise wrong("at_least", f"must not exceed at_most ({self.at_most}), found {self.at_least}")
        return self


def test_metric(objective: Objective) -> tuple[str, Literal["max", "min"]]:
    """What confirmation compares, and the direction in which it is better.

    The test counterpart of the metric that the search improved, or else the linear probe of h.
    """
    if objective.metric.endswith(".val"):
        return objective.metric.removesuffix(".val") + ".test", objective.mode
    return "probe.h.test", "max"
