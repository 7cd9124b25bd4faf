"""The artifacts of a finished trial as far as a frozen head reads them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from ablate.model import build_model
from tests.train.synthetic import tiny_trial


def finished_head(folder: Path, *, width: int) -> dict[str, Any]:
    """Write the untrained two-layer head of a trial of this encoder width; the head section that loads it."""
    spec = tiny_trial()
    assert spec.width == width
    (folder / "spec.json").write_text(json.dumps(spec.as_dict()))
    torch.save(build_model(spec).head.state_dict(), folder / "head.pt")
    digest = hashlib.sha256((folder / "head.pt").read_bytes()).hexdigest()[:16]
    return {"kind": "frozen", "path": str(folder), "digest": digest}
