"""The decisions of a sweep: what to try, what to stop, what to confirm. Deterministic; knows no backend.

``begin`` makes a state from the opening event, ``decide`` folds one external event into it and returns the
decisions that follow, ``replay`` folds a whole ledger again and verifies that it decides the same.
"""

from ablate.search.decide import MAX_ABANDONED, decide
from ablate.search.replay import ReplayMismatch, refold, replay
from ablate.search.state import InvalidEvent, Search, SearchState, TrialState, begin

__all__ = [
    "MAX_ABANDONED",
    "InvalidEvent",
    "ReplayMismatch",
    "Search",
    "SearchState",
    "TrialState",
    "begin",
    "decide",
    "refold",
    "replay",
]
