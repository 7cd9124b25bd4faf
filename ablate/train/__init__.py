"""The shared trainer: steps, schedules, exact resume, and workers that act as one. No Ray, no MLflow."""

from ablate.train.error import TrainingError
from ablate.train.trainer import Diverged, Trainer, TrainReport
from ablate.train.world import World

__all__ = ["Diverged", "TrainReport", "Trainer", "TrainingError", "World"]
