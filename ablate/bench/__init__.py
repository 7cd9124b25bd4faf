"""Ratios against named peers: the same work, in one run, on one machine, several times in turn.

``figures`` says what a figure is and takes them, ``show`` prints and writes them. A suite, such as
``sweep_suite``, names contenders (ways to do the work) and the figures to take of them. How a library is used
as a peer is said in its own file, such as ``torchvision_peer``.

A figure without a peer beside it says more about the machine than about the code, so there is hardly one
here: only waits and errors, which have to stay below a bound.
"""

from ablate.bench.figures import BenchError, Contender, Figure, Record, Suite, take

__all__ = ["BenchError", "Contender", "Figure", "Record", "Suite", "take"]
