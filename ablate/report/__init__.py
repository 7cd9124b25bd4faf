"""Results of a sweep, read from its ledger: the table of all trials, statistics, and the summary in words."""

from ablate.report.confirm import Difference, Interval, compare_arms
from ablate.report.results import results_table, write_results
from ablate.report.summary import Summary, markdown, show, summarise, summary_of, verdict
from ablate.report.trials import TrialRecord, fold_trials

__all__ = [
    "Difference",
    "Interval",
    "Summary",
    "TrialRecord",
    "compare_arms",
    "fold_trials",
    "markdown",
    "results_table",
    "show",
    "summarise",
    "summary_of",
    "verdict",
    "write_results",
]
