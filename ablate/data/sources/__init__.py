"""Where images come from: one file a source, found by the class of its spec."""

from ablate.data.sources import (  # noqa: F401
    digits,
    folder,
    group_shift,
    mnist_on_cifar10,
    parquet,
    scattered_digits,
    shifted_folder,
    torchvision_sets,
    urbancars,
    waterbirds,
)
from ablate.data.sources.coarse import group_classes
from ablate.data.sources.registry import Decode, Image, Indices, Kind, Part, Read, Source, kind_of

__all__ = ["Decode", "Image", "Indices", "Kind", "Part", "Read", "Source", "group_classes", "kind_of"]
