"""Where the images come from. Every source has a test split that no seed can move.

A source may label its images in several ways at once (``factors``: a digit and an object, say); one of them
is the label that is trained and probed, the others are what diagnoses look for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from ablate.spec.base import Spec, wrong


def _as_pairs(value: Any) -> Any:
    """A mapping of names to lists as a tuple of pairs, which can be hashed.

    In the order of the names, which number the labels: the order in a file has no part in hashes and digests.
    """
    if value is None or isinstance(value, tuple):
        return value
    if not isinstance(value, Mapping):
        raise PydanticCustomError("grouping", "must be a mapping of group names to lists of classes")
    for name, classes in value.items():
        if not isinstance(classes, list | tuple) or not all(isinstance(c, str) for c in classes):
            raise wrong(str(name), f"must be a list of class names (quote numbers), found {classes}")
    return tuple((name, tuple(value[name])) for name in sorted(value))


def _as_mapping(pairs: tuple[tuple[str, tuple[str, ...]], ...] | None) -> dict[str, list[str]] | None:
    return None if pairs is None else {name: list(classes) for name, classes in pairs}


Grouping = Annotated[
    tuple[tuple[str, tuple[str, ...]], ...] | None,
    BeforeValidator(_as_pairs),
    PlainSerializer(_as_mapping),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
                {"type": "null"},
            ]
        }
    ),
]


Images = Literal["auto", "resident", "stream"]  # where a trial has its images, see ``compute.images``


class CorruptionSpec(Spec):
    """A common corruption in the manner of CIFAR-10-C, made by us with our own constants."""

    name: Literal["gaussian-noise", "gaussian-blur", "contrast", "brightness", "pixelate", "jpeg"]
    severity: int = Field(3, ge=1, le=5)


class Source(Spec):
    """What every source has. One derives from ``SeededValidation`` or from ``OwnValidation``."""

    train: int | None = Field(
        None, ge=20, description="how many training images to keep, chosen once for all seeds; null: all"
    )
    test: int | None = Field(None, ge=10, description="how many test images to keep; null: all")
    coarse: Grouping = Field(
        None,
        description="classes grouped, as {name: [classes...]}, every class once: the groups are the labels, "
        "the classes a factor; null: the classes are the labels",
    )
    corruption: CorruptionSpec | None = Field(
        None, description="of the test images alone; null: they are as they are"
    )

    @model_validator(mode="after")
    def _groups_differ(self) -> Source:
        if self.coarse is None:
            return self
        if len(self.coarse) < 2:
            raise wrong("coarse", f"needs at least two groups, found {len(self.coarse)}")
        named = [c for _, classes in self.coarse for c in classes]
        twice = sorted({c for c in named if named.count(c) > 1})
        if twice:
            raise wrong("coarse", f"these classes are named twice: {', '.join(twice)}")
        if empty := [name for name, classes in self.coarse if not classes]:
            raise wrong("coarse", f"these groups name no class: {', '.join(empty)}")
        return self


class SeededValidation(Source):
    """A source of which a seed sets some training images aside."""

    validation: float = Field(
        0.2, gt=0, lt=1, description="share of the training images that the seed sets aside"
    )


class OwnValidation(Source):
    """A source that brings its own validation images."""

    validation: int | None = Field(
        None,
        ge=10,
        description="how many images to keep of the source's own validation split, which no seed can move; "
        "null: all",
    )


_RESOLUTION = Field(
    None,
    ge=8,
    le=1024,
    description="images are resized and centre-cropped to this square; null: they already are one size",
)

_JPEG = Field(
    None,
    ge=50,
    le=100,
    description="the built data set keeps its images as JPEGs of this quality, of which 90 takes about a "
    "ninth of the space and each reading more time: no longer exactly the source's pixels; null: raw pixels",
)


class _Photos(SeededValidation):
    resolution: int | None = _RESOLUTION
    jpeg: int | None = _JPEG


class DigitsData(SeededValidation):
    """scikit-learn's 1,797 real 8 x 8 handwritten digits, enlarged to 16 x 16."""

    kind: Literal["digits"] = "digits"


class ScatteredDigitsData(SeededValidation):
    """The same real digits at random place, scale and slight rotation on a small cluttered canvas."""

    kind: Literal["scattered-digits"] = "scattered-digits"
    canvas: int = Field(24, ge=16, le=64, description="side of the canvas in pixels")
    per_digit: int = Field(2, ge=1, le=32, description="canvases made of each training digit")
    clutter: int = Field(2, ge=0, le=32, description="digit fragments strewn over each canvas")


class GroupShiftData(OwnValidation):
    """Real digits on textures with a small shape beside them: factors core, background and object, which
    agree in most training images and are independent in validation and test. In the manner of UrbanCars."""

    kind: Literal["group-shift"] = "group-shift"
    canvas: int = Field(32, ge=24, le=64, description="side of the canvas in pixels")
    per_digit: int = Field(4, ge=1, le=32, description="canvases made of each digit")
    background: float = Field(
        0.95, ge=0.5, le=1, description="share of training images whose background agrees with the core"
    )
    object: float = Field(
        0.95, ge=0.5, le=1, description="share of training images whose object agrees with the core"
    )


class TorchvisionData(_Photos):
    """A torchvision set, read from ``root``, or downloaded there if ``download`` is true."""

    kind: Literal["cifar10", "cifar100", "stl10"]
    root: str = "data"
    download: bool = False
    superclasses: bool = Field(
        False, description="cifar100: its 20 superclasses are the labels, its 100 classes the factor fine"
    )

    @model_validator(mode="after")
    def _has_superclasses(self) -> TorchvisionData:
        if self.superclasses and self.kind != "cifar100":
            raise wrong("superclasses", f"only cifar100 has them, not {self.kind}; group classes by coarse")
        if self.superclasses and self.coarse is not None:
            raise wrong("superclasses", "already groups the classes; leave out coarse, or superclasses")
        return self


class ParquetData(_Photos):
    """Hugging Face parquet layout: files named ``train-*`` and ``test-*`` (or ``validation-*``)."""

    kind: Literal["parquet"] = "parquet"
    path: str
    label: str | None = Field(
        None, description="the label column, if the files have several; null: the only one"
    )


class FolderData(_Photos):
    """``path/{train,test}/<class>/*``, or ``path/<class>/*`` split once for all seeds."""

    kind: Literal["folder"] = "folder"
    path: str


class ShiftedFolderData(_Photos):
    """Training images of one folder, test images of another with a shift: ImageNet-R, ImageNet-A, IN-9."""

    kind: Literal["shifted-folder"] = "shifted-folder"
    path: str = Field(description="training images: path/<class>/*")
    test_path: str = Field(description="shifted test images: test_path/<class>/*")
    mapping: str | None = Field(
        None,
        description="a JSON file {class folder: label}, or in_to_in9.json as published; null: the test "
        "folders name training classes",
    )


class MNISTOnCIFAR10Data(SeededValidation):
    """A digit pasted on every CIFAR-10 photo: factors digit and object; the plain photo is kept beside it,
    for ``views.drop``."""

    kind: Literal["mnist-on-cifar10"] = "mnist-on-cifar10"
    cifar10: str = Field(description="folder of CIFAR-10")
    mnist: str = Field(description="folder of MNIST")
    layout: Literal["parquet", "torchvision"] = Field(
        "parquet", description="of both folders: Hugging Face parquet files, or torchvision's"
    )
    label: Literal["digit", "object"] = Field("digit", description="the factor that is trained and probed")
    strength: float = Field(
        0.7, gt=0, le=1, description="of the digit's pixels, the share that is the digit and not the photo"
    )


class WaterbirdsData(OwnValidation):
    """Waterbirds as published: ``path/metadata.csv`` and the images it names; factors bird and place."""

    kind: Literal["waterbirds"] = "waterbirds"
    path: str
    resolution: int | None = _RESOLUTION
    jpeg: int | None = _JPEG


class UrbanCarsData(OwnValidation):
    """UrbanCars as its published code writes it: ``path/bg-0.95_co_occur_obj-0.95/train`` and so on."""

    kind: Literal["urbancars"] = "urbancars"
    path: str
    resolution: int | None = _RESOLUTION
    jpeg: int | None = _JPEG


DataSpec = Annotated[
    DigitsData
    | ScatteredDigitsData
    | GroupShiftData
    | TorchvisionData
    | ParquetData
    | FolderData
    | ShiftedFolderData
    | MNISTOnCIFAR10Data
    | WaterbirdsData
    | UrbanCarsData,
    Field(discriminator="kind"),
]

PRESET_OF_SOURCE = {
    "digits": "digits",
    "scattered-digits": "scattered-digits",
    "group-shift": "group-shift",
    "cifar10": "photos-32",
    "cifar100": "photos-32",
    "stl10": "photos-96",
    "parquet": "photos-32",
    "folder": "photos-224",
    "shifted-folder": "photos-224",
    "mnist-on-cifar10": "photos-32",
    "waterbirds": "photos-224",
    "urbancars": "photos-224",
}

SOURCES_WITH_ALTERNATES = ("mnist-on-cifar10",)  # those that `views.drop` can be used with
