"""One trial from spec to numbers; used by every slot and by `ablate train`. No Ray, no MLflow."""

from ablate.trial.checkpoint import Checkpoint, CheckpointError
from ablate.trial.outcome import TrialFailure, describe_failure
from ablate.trial.run import EpochReport, TrialResult, TrialRun, run_trial

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "EpochReport",
    "TrialFailure",
    "TrialResult",
    "TrialRun",
    "describe_failure",
    "run_trial",
]
