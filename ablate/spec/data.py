"""Where the images come from. Every source has a test split that no seed can move."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ablate.spec.base import Spec


class _Source(Spec):
    train: int | None = Field(
        None, ge=20, description="how many training images to keep, chosen once for all seeds; null: all"
    )
    test: int | None = Field(None, ge=10, description="how many test images to keep; null: all")
    validation: float = Field(
        0.2, gt=0, lt=1, description="share of the training images that the seed sets aside"
    )


class _Photos(_Source):
    resolution: int | None = Field(
        None,
        ge=8,
        le=1024,
        description="images are resized and centre-cropped to this square; null: they already are one size",
    )


class DigitsData(_Source):
    """scikit-learn's 1,797 real 8 x 8 handwritten digits, enlarged to 16 x 16."""

    kind: Literal["digits"] = "digits"


class ScatteredDigitsData(_Source):
    """The same real digits at random place, scale and slight rotation on a small cluttered canvas."""

    kind: Literal["scattered-digits"] = "scattered-digits"
    canvas: int = Field(24, ge=16, le=64, description="side of the canvas in pixels")
    per_digit: int = Field(2, ge=1, le=32, description="canvases made of each training digit")
    clutter: int = Field(2, ge=0, le=32, description="digit fragments strewn over each canvas")


class TorchvisionData(_Photos):
    """A torchvision set, read from ``root``, or downloaded there if ``download`` is true."""

    kind: Literal["cifar10", "cifar100", "stl10"]
    root: str = "data"
    download: bool = False


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


DataSpec = Annotated[
    DigitsData | ScatteredDigitsData | TorchvisionData | ParquetData | FolderData,
    Field(discriminator="kind"),
]

PRESET_OF_SOURCE = {
    "digits": "digits",
    "scattered-digits": "scattered-digits",
    "cifar10": "photos-32",
    "cifar100": "photos-32",
    "stl10": "photos-96",
    "parquet": "photos-32",
    "folder": "photos-224",
}
