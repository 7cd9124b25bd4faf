"""Results of a sweep, read from its ledger: the table of all trials, verdicts, and the summary in words."""

from ablate.report.claims import Claims, claims_of
from ablate.report.page import markdown, show
from ablate.report.results import results_table, write_results
from ablate.report.summary import Summary, summarise, summary_of
from ablate.report.trials import TrialRecord, fold_trials

__all__ = [
    "Claims",
    "Summary",
    "TrialRecord",
    "claims_of",
    "fold_trials",
    "markdown",
    "results_table",
    "show",
    "summarise",
    "summary_of",
    "write_results",
]
