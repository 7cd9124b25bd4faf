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
    times = f"{m.sweep.replicates} searches" if m.sweep.replicates > 1 else "a search"
    searched = f"Each arm had {times} of its own" if m.sweep.arms else "One search went over the whole space"
    confirm = m.sweep.confirm
    if confirm is None:
        return f"{searched}. There was no confirmation, and so there is no result."
    planned = (
        f"{searched}. Before the first trial of confirmation the ledger records what is compared, on which "
        "seeds, by which metric, at which looks and with which margin. Then each choice is trained again on "
        f"up to {confirm.seeds} seeds that no search has seen, all arms on a seed before any on the next, "
        "and the test split is read once a trial."
    )
    found = m.confirmed
    if found is None:
        return f"{planned} Nothing has been declared yet."
    if found.looked and found.looked[-1]["stop"] and found.seeds < confirm.seeds:
        return f"{planned} A look ended it after {found.seeds} of {confirm.seeds} seeds."
    return planned


_LIMITS = (
    "Search scores choose configurations; they are the best of many, on validation, and never a result.",
    "Verdicts are on what was repeated: on configurations where seeds were, on kinds where searches were.",
    "Intervals are not corrected for the number of comparisons, p-values are.",
    "The number that a run ended with is in its row of `results.parquet`; those of its epochs and its hours "
    "are in the ledger, its spectrum in `spectrum.npz`, and what is taken over runs leads to their list.",
    "Equal ledgers and artifacts give this report byte for byte: nothing in it depends on when it was "
    "written.",
)
