"""The MLflow mirror of a sweep: one experiment a family of sweeps, a parent run a sweep, a child a trial.

``Mirror`` follows a sweep's ledger beside a running driver, ``catch_up`` brings in what it could not deliver,
``serve_ui`` shows the store, ``log_report`` adds a report to it. Nothing else of the project knows MLflow.

Importing this package sets MLflow up as the project wants it, each setting only where the user has not
chosen: no telemetry, no chatter, and little patience over HTTP, because the mirror itself tries again later.
"""

import logging
import os

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}.items():
    os.environ.setdefault(_name, _value)
for _name in ("mlflow.store.db", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)

# After the settings, which MLflow reads when it is imported.
from ablate.tracking.mirror import Mirror, catch_up  # noqa: E402
from ablate.tracking.report import log_report  # noqa: E402
from ablate.tracking.store import Store, TrackingError, check_recordable, find_store  # noqa: E402
from ablate.tracking.ui import serve_ui  # noqa: E402

__all__ = [
    "Mirror",
    "Store",
    "TrackingError",
    "catch_up",
    "check_recordable",
    "find_store",
    "log_report",
    "serve_ui",
]
