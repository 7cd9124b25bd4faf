"""What a search tells beside its best trial, and how far that can be trusted; one topic a file.

``best_so_far`` and ``expected_best``: how good after so much budget. ``importance``, ``boundaries`` and
``dead``: what the parameters did, and with ``patch`` the change to make. ``stopping_audit``: whether early
stopping stopped the wrong trials. ``whole`` is all of it, ``document`` its words and tables. See
docs/analysis.md.

Everything is computed from the ledger, on validation, and equal ledgers give equal results. SciPy and Optuna
are imported where they are used, since they take their time.
"""
