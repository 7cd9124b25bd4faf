"""An encoder in MLflow's model format, for ``mlflow.pytorch.load_model`` and ``mlflow.pyfunc.load_model``.

Saved as MLflow's "pt2": the graph that ``torch.export`` traced and its weights. Neither saving nor loading
pickles code, and who loads it needs torch and mlflow, but not ablate. MLflow's other format would pickle the
network itself.
"""

from __future__ import annotations

import importlib
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import nn

from ablate.tracking.store import TrackingError

_LIBRARIES = ("mlflow", "numpy", "torch")


def save_encoder(
    encoder: nn.Module, folder: Path, *, size: int, width: int, metadata: dict[str, Any]
) -> None:
    """Write ``encoder``, of uint8 images [N, 3, size, size] to float32 [N, width], to the new ``folder``.

    N may be anything from 1; ``metadata`` is kept in the file MLmodel. Raises TrackingError if ``folder`` is
    there already, or torch.export cannot trace the encoder; then nothing is left behind.
    """
    if folder.exists():
        raise TrackingError(f"{folder}: is there already; name another folder, or remove it")
    # Two images: of one, the batch size would be taken for a constant.
    example = np.zeros((2, 3, size, size), dtype=np.uint8)
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.uint8), (-1, 3, size, size))]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, width))]),
    )
    try:
        importlib.import_module("ablate.torchvision_import")  # MLflow imports torchvision, as is, otherwise
        mlflow.pytorch.save_model(
            encoder.eval(),
            folder,
            input_example=example,
            signature=signature,
            serialization_format="pt2",
            metadata=metadata,
            # Named, for MLflow would load the model in a new process to find out.
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in _LIBRARIES],
        )
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise TrackingError(
            f"{folder}: this encoder cannot be saved in MLflow's format: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
