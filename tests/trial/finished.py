"""The folder of a trial that was not trained: who reads artifacts sees no difference, and it is cheap."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from ablate.model import ContrastiveModel, build_model
from ablate.spec.trial import TrialSpec


def untrained(folder: Path, spec: TrialSpec) -> ContrastiveModel:
    """Write spec.json, encoder.pt and head.pt of a model whose batch norms have seen something."""
    model = build_model(spec)
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for values in (module.running_mean, module.running_var):
                assert values is not None
                values.add_(torch.rand(values.shape, generator=generator))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text(json.dumps(spec.as_dict()))
    torch.save(model.encoder.state_dict(), folder / "encoder.pt")
    torch.save(model.head.state_dict(), folder / "head.pt")
    return model.eval()
