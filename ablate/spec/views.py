"""What the network sees: constants of the two random views, and the preset of each data source."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from ablate.spec.base import Spec, wrong

Probability = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0, le=1)]
Pair = Annotated[tuple[float, float], Field(strict=False)]
Channels = Annotated[tuple[float, float, float], Field(strict=False)]


def _presets_in_schema(schema: dict[str, Any]) -> None:
    """In a file every constant may be left to a preset."""
    preset = {"enum": list(VIEW_PRESETS), "description": "start from these constants", "type": "string"}
    schema["properties"] = {"preset": preset, **schema["properties"]}
    schema.pop("required", None)


class ViewSpec(Spec):
    """Both views are drawn independently from these constants; ``blur`` and ``solarize`` may differ.

    YAML may name a ``preset`` and override some of its constants, or override some of the preset of its data
    source; a resolved spec shows them all.
    """

    model_config = ConfigDict(json_schema_extra=_presets_in_schema)

    size: int = Field(ge=8, le=512, description="side of a view in pixels")
    crop_area: Pair = Field(description="range of the crop's share of the image area, within (0, 1]")
    crop_aspect: Pair = Field(description="range of the crop's width / height")
    rotate: float = Field(ge=0, le=180, description="largest rotation either way, in degrees")
    flip: Probability = Field(description="probability of a horizontal flip")
    jitter: Probability = Field(description="probability that the four colour shifts are applied")
    brightness: Strength
    contrast: Strength
    saturation: Strength
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(description="largest hue shift, in turns")
    gray: Probability
    blur: Probability
    blur_second: Probability | None = Field(None, description="of the second view; null: as the first")
    blur_sigma: Pair = Field(description="range of the Gaussian's sigma in pixels")
    solarize: Probability
    solarize_second: Probability | None = Field(None, description="of the second view; null: as the first")
    drop: Probability = Field(
        0.0, description="probability that a view shows the source's alternate picture (without the digit)"
    )
    drop_views: Literal["both", "first"] = Field(
        "both", description="the views that may be dropped, each by itself"
    )
    mean: Channels = Field(description="subtracted from pixels in [0, 1], per channel")
    std: Channels

    @property
    def blur_of_second(self) -> float:
        return self.blur if self.blur_second is None else self.blur_second

    @property
    def solarize_of_second(self) -> float:
        return self.solarize if self.solarize_second is None else self.solarize_second

    @model_validator(mode="before")
    @classmethod
    def _expand_preset(cls, value: Any) -> Any:
        return expand_preset(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _check_ranges(self) -> ViewSpec:
        for name in ("crop_area", "crop_aspect", "blur_sigma"):
            a, b = getattr(self, name)
            if not 0 < a <= b:
                raise wrong(name, f"must be [low, high] with 0 < low <= high, found [{a}, {b}]")
        if self.crop_area[1] > 1:
            raise wrong("crop_area", f"must lie within (0, 1], found {list(self.crop_area)}")
        if min(self.std) <= 0:
            raise wrong("std", f"must be positive, found {list(self.std)}")
        return self


def expand_preset(views: dict[str, Any]) -> dict[str, Any]:
    """Replace the key ``preset`` by that preset's constants, under those given beside it."""
    if "preset" not in views:
        return views
    name = views["preset"]
    if not isinstance(name, str) or name not in VIEW_PRESETS:
        raise wrong("preset", f"unknown preset {name!r} (allowed: {', '.join(VIEW_PRESETS)})")
    return {**VIEW_PRESETS[name], **{k: v for k, v in views.items() if k != "preset"}}


_NO_COLOUR = {
    "jitter": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0,
    "gray": 0.0, "blur": 0.0, "blur_sigma": (0.1, 2.0), "solarize": 0.0,
}  # fmt: skip
_SIMCLR_COLOUR = {
    "jitter": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1,
    "gray": 0.2, "blur": 0.0, "blur_sigma": (0.1, 2.0), "solarize": 0.0,
}  # fmt: skip
_CIFAR = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.247, 0.2435, 0.2616)}
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_ASPECT = (3 / 4, 4 / 3)

VIEW_PRESETS: dict[str, dict[str, Any]] = {
    # Digits are not symmetric: no flip, and no more than a slight turn.
    "digits": {
        "size": 16, "crop_area": (0.5, 1.0), "crop_aspect": _ASPECT, "rotate": 10.0, "flip": 0.0,
        **_NO_COLOUR, "mean": (0.3, 0.3, 0.3), "std": (0.35, 0.35, 0.35),
    },
    "scattered-digits": {
        "size": 24, "crop_area": (0.4, 1.0), "crop_aspect": _ASPECT, "rotate": 10.0, "flip": 0.0,
        **_NO_COLOUR, "jitter": 0.8, "brightness": 0.4, "contrast": 0.4,
        "mean": (0.2, 0.2, 0.2), "std": (0.25, 0.25, 0.25),
    },
    # Digits again; brightness, contrast and tints vary, what is drawn stays.
    "group-shift": {
        "size": 32, "crop_area": (0.4, 1.0), "crop_aspect": _ASPECT, "rotate": 10.0, "flip": 0.0,
        **_NO_COLOUR, "jitter": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1,
        "mean": (0.4, 0.4, 0.4), "std": (0.25, 0.25, 0.25),
    },
    "photos-32": {
        "size": 32, "crop_area": (0.2, 1.0), "crop_aspect": _ASPECT, "rotate": 0.0, "flip": 0.5,
        **_SIMCLR_COLOUR, **_CIFAR,
    },
    "photos-96": {
        "size": 96, "crop_area": (0.2, 1.0), "crop_aspect": _ASPECT, "rotate": 0.0, "flip": 0.5,
        **_SIMCLR_COLOUR, "blur": 0.5, **_IMAGENET,
    },
    "photos-224": {
        "size": 224, "crop_area": (0.08, 1.0), "crop_aspect": _ASPECT, "rotate": 0.0, "flip": 0.5,
        **_SIMCLR_COLOUR, "blur": 0.5, **_IMAGENET,
    },
    # The recipes below are those of papers; [read] is what their code says, [derived] what follows from it.
    #
    # SimCLR on CIFAR-10 (Chen et al., arXiv 2002.05709; github.com/google-research/simclr). [read] README:
    # strength .5, no blur. data_util.py: crops, and at strength s shifts of .8 s, .8 s, .8 s and .2 s with
    # p = .8, gray .2. [derived] the four shifts. It normalises nothing; mean and std here are CIFAR-10's.
    "simclr-32": {
        "size": 32, "crop_area": (0.08, 1.0), "crop_aspect": _ASPECT, "rotate": 0.0, "flip": 0.5,
        "jitter": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1,
        "gray": 0.2, "blur": 0.0, "blur_sigma": (0.1, 2.0), "solarize": 0.0, **_CIFAR,
    },
    # SimCLR on ImageNet at strength 1. [read] data_util.py: all; it resizes bicubically, blurs over a border
    # of zeros and normalises nothing; mean and std here are ImageNet's.
    "simclr-224": {
        "size": 224, "crop_area": (0.08, 1.0), "crop_aspect": _ASPECT, "rotate": 0.0, "flip": 0.5,
        "jitter": 0.8, "brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2,
        "gray": 0.2, "blur": 0.5, "blur_sigma": (0.1, 2.0), "solarize": 0.0, **_IMAGENET,
    },
    # MoCo v2 on ImageNet (Chen et al., arXiv 2003.04297; github.com/facebookresearch/moco). [read]
    # main_moco.py --aug-plus: all.
    "moco-224": {
        "size": 224, "crop_area": (0.2, 1.0), "crop_aspect": _ASPECT, "rotate": 0.0, "flip": 0.5,
        "jitter": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1,
        "gray": 0.2, "blur": 0.5, "blur_sigma": (0.1, 2.0), "solarize": 0.0, **_IMAGENET,
    },
    # BYOL on ImageNet (Grill et al., arXiv 2006.07733; github.com/google-deepmind/deepmind-research). [read]
    # byol/utils/augmentations.py, dataset.py: all. It resizes bicubically, adds its brightness and takes
    # contrast about each channel's mean; here these are as in the other recipes.
    "byol-224": {
        "size": 224, "crop_area": (0.08, 1.0), "crop_aspect": _ASPECT, "rotate": 0.0, "flip": 0.5,
        "jitter": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1,
        "gray": 0.2, "blur": 1.0, "blur_second": 0.1, "blur_sigma": (0.1, 2.0),
        "solarize": 0.0, "solarize_second": 0.2, **_IMAGENET,
    },
    # DirectCLR on ImageNet (Jing et al., arXiv 2110.09348; github.com/facebookresearch/directclr). [read]
    # directclr/utils.py: all (its crop is torchvision's default); it resizes bicubically.
    "directclr-224": {
        "size": 224, "crop_area": (0.08, 1.0), "crop_aspect": _ASPECT, "rotate": 0.0, "flip": 0.5,
        "jitter": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1,
        "gray": 0.2, "blur": 1.0, "blur_second": 0.1, "blur_sigma": (0.1, 2.0),
        "solarize": 0.0, "solarize_second": 0.2, **_IMAGENET,
    },
}  # fmt: skip
