"""Sweeps beside each other: what differs between them, which arms they share, and what that may say.

Two sweeps are two searches, and nothing of a comparison between them was declared before their results were
known. So there are the verdicts of each, side by side; differences between the sweeps, where they measured
the same data, as exploration; and aggregates over data sets, where they did not.

One topic a file: ``side`` reads a sweep, ``settings`` says what differs, ``differences``, ``aggregates`` and
``timing`` hold the numbers, ``proposal`` the sweep that would turn them into a claim, ``whole`` is all of it;
``document`` puts it into words (``wording``), ``tables`` and figures (``drawn``), and ``terminal`` prints it.
See docs/compare.md.
"""
