"""Where images come from: one file a source, found by the class of its spec."""

from ablate.data.sources import digits, folder, parquet, scattered_digits, torchvision_sets  # noqa: F401
from ablate.data.sources.registry import Decode, Image, Indices, Kind, Part, Source, kind_of

__all__ = ["Decode", "Image", "Indices", "Kind", "Part", "Source", "kind_of"]
