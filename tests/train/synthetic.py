"""A tiny data set of random images, and a tiny trial on it: enough to train on, nothing to read from disk."""

from typing import Any

import torch

from ablate.data import Dataset, Split
from ablate.spec.trial import TrialSpec


def tiny_data(count: int = 64, size: int = 16, classes: int = 4) -> Dataset:
    generator = torch.Generator().manual_seed(7)

    def split(start: int, n: int) -> Split:
        labels = torch.arange(n) % classes
        images = torch.randint(0, 120, (n, 3, size, size), generator=generator, dtype=torch.uint8)
        for i, label in enumerate(labels.tolist()):
            images[i, label % 3, : size // 2] += 60 + 20 * label  # something to learn
        return Split(images, labels, torch.arange(start, start + n))

    return Dataset(
        split(0, count), split(count, 32), split(count + 32, 32), tuple(map(str, range(classes))), "tiny"
    )


def tiny_trial(**sections: Any) -> TrialSpec:
    values: dict[str, Any] = {
        "data": {"kind": "digits"},
        "encoder": {"kind": "tiny-resnet", "width": 4, "blocks": [1, 1]},
        "head": {"kind": "mlp", "depth": 2, "hidden": 16, "out": 8},
        "optim": {"kind": "sgd", "lr": 0.1, "epochs": 3, "batch": 32, "warmup_epochs": 1},
    }
    return TrialSpec.model_validate(values | sections)
