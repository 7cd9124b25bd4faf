"""Everything else that was looked into once training had ended: one table a diagnosis, one column an arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ablate.report.content.evidence import by_arm, measured
from ablate.report.content.material import Material
from ablate.report.document.blocks import Block, Paragraph, Section

_SPARSITY = ("head.zeros", "head.active_inputs", "head.hoyer")  # shown with the sparsity


@dataclass(frozen=True)
class Diagnosis:
    """Metrics whose names begin with ``prefix``; ``key`` of the file measures them."""

    title: str
    prefix: str
    key: str
    about: str


ALL = (
    Diagnosis(
        "Group shift",
        "factors.",
        "measure.diagnose: [factors]",
        "Accuracy of last-layer retraining on h and z for the worst group and on average, fitted to biased "
        "training images (erm) or to group-balanced validation images (dfr); gap is average less worst.",
    ),
    Diagnosis(
        "Generalisation of the objective",
        "generalisation.",
        "measure.diagnose: [generalisation]",
        "InfoNCE on training and on validation images in batches of one size, and the gap between them.",
    ),
    Diagnosis(
        "Augmentation",
        "augmentation.",
        "measure.diagnose: [augmentation]",
        "What can be read off h and z about how a view was augmented (R^2, lower is more invariant), and the "
        "cosine of the two views of an image.",
    ),
    Diagnosis(
        "Subspace of the head",
        "head.",
        "measure.diagnose: [head]",
        "Rank of the head's Jacobian, size of the subspace it selects, and whether that depends on the "
        "image.",
    ),
    Diagnosis(
        "Inner gap",
        "inner.",
        "measure.diagnose: [inner]",
        "How far the head is from minimising the loss of a batch at fixed h; gap_fresh is on another batch.",
    ),
    Diagnosis(
        "Subset of features",
        "subset.",
        "measure.diagnose: [subset]",
        "Whether a subset of the features does for one mini-batch, and how far the subsets of batches "
        "overlap.",
    ),
)
_RANKS = Diagnosis(
    "Ranks and geometry",
    "rank.",
    "measure.lidar",
    "Effective rank, RankMe (entropy of singular values), the decay exponent alpha of the spectrum and its "
    "distance from 1, and LiDAR where it was measured, of h and of z on training images.",
)
_GEOMETRY = {name: name for name in ("alignment", "uniformity", "spread.z")}


def diagnoses(m: Material) -> Section:
    """Tables of what there is; ranks and geometry are always measured."""
    blocks: list[Block] = []
    ranks = {name: name for name in measured(m, _RANKS.prefix)}
    ranks |= {name: name for name in _GEOMETRY if measured(m, name)}
    if ranks:
        blocks += _table(m, _RANKS, ranks)
    for diagnosis in ALL:
        if names := names_of(m, diagnosis):
            blocks += _table(m, diagnosis, names)
    if not blocks:
        blocks = [Paragraph("No completed trial has any of these numbers.")]
    return Section("diagnoses", "Why: other diagnoses", tuple(blocks))


def names_of(m: Material, diagnosis: Diagnosis) -> dict[str, str]:
    """The metrics of a diagnosis that there are, each under its own name."""
    return {name: name for name in measured(m, diagnosis.prefix) if name not in _SPARSITY}


def not_measured(m: Material) -> list[str]:
    """What is not in the tables, and the key of the file that measures it."""
    lines = [f"{d.title}: not measured; `{d.key}` does." for d in ALL if not names_of(m, d)]
    if not any(name.endswith(".lidar") for name in measured(m, "rank.")):
        lines.append("LiDAR: not measured; `measure.lidar: 10`, views an image, does.")
    return lines


def _table(m: Material, diagnosis: Diagnosis, names: Mapping[str, str]) -> list[Block]:
    caption = f"{diagnosis.title}."
    id = f"diagnosis-{diagnosis.prefix.rstrip('.')}"
    return [Paragraph(f"{diagnosis.title}. {diagnosis.about}"), by_arm(m, id, caption, dict(names))]
