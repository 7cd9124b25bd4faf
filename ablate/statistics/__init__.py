"""Statistics of paired comparisons: tests, intervals, equivalence, power and the verdict.

Pure functions of numbers; heavy libraries are imported when first used.
"""

from ablate.statistics.intervals import Interval
from ablate.statistics.sequential import alphas
from ablate.statistics.sign_flip import seeds_needed, smallest_p
from ablate.statistics.verdict import Comparison, Looked, Unit, Verdict, Word, judge, settled

__all__ = [
    "Comparison",
    "Interval",
    "Looked",
    "Unit",
    "Verdict",
    "Word",
    "alphas",
    "judge",
    "seeds_needed",
    "settled",
    "smallest_p",
]
