"""How to read the report, and how its numbers are come by."""

from __future__ import annotations

from ablate.report.content.material import Material
from ablate.report.document.blocks import Block, Paragraph, Section, bullets, table
from ablate.report.words import MEANINGS

_MEASURES = (
    ("difference", "mean over units of arm minus its opponent on the same seed; larger is better"),
    ("interval over seeds", "t interval of the paired differences; for these test images"),
    (
        "interval over seeds and images",
        "both are samples: crossed variance, Satterthwaite's degrees of freedom",
    ),
    ("BCa", "bootstrap interval; below 15 units it covers too little, and the t interval is the one to read"),
    ("p", "the larger of the sign-flip test over units and the t test over units and images"),
    ("p (Holm)", "p corrected for all declared comparisons"),
    ("p of equivalence", "two one-sided tests against the margin, corrected by Holm"),
    ("d_z", "mean difference divided by the sd of differences"),
    ("P(better)", "share of units in which the arm is better, ties as half"),
)


def method(m: Material) -> Section:
    """Words, measures, and what never is a result here."""
    words = table("words-table", "What a verdict's word means.", ("word", "when"), MEANINGS.items())
    measures = table("measures-table", "What the numbers are.", ("number", "what it is"), _MEASURES)
    blocks: list[Block] = [Paragraph(_story(m)), words, measures, bullets(_LIMITS)]
    return Section("method", "Method", tuple(blocks))


def _story(m: Material) -> str:
    searched = "Each arm had a search of its own" if m.sweep.arms else "One search went over the whole space"
    confirm = m.sweep.confirm
    if confirm is None:
        return f"{searched}. There was no confirmation, and so there is no result."
    return (
        f"{searched}. Before the first trial of confirmation the ledger recorded what would be compared, "
        "on which seeds, by which metric, at which looks and with which margin. Then each choice was "
        f"trained again on {confirm.seeds} seeds that no search had seen, all arms on a seed before any on "
        "the next, and the test split was read once a trial."
    )


_LIMITS = (
    "Search scores choose configurations; they are the best of many, on validation, and never a result.",
    "Verdicts are on what was repeated: on configurations where seeds were, on kinds where searches were.",
    "Intervals are not corrected for the number of comparisons, p-values are.",
    "Every number of a figure or table that belongs to a run is in that run's row of `results.parquet`; "
    "spectra are in its `spectrum.npz`, and what is taken over runs leads to their list.",
    "Equal ledgers and artifacts give this report byte for byte: nothing in it depends on when it was "
    "written.",
)
