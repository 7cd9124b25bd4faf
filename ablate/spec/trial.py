"""A trial is a value: everything that its numbers depend on, complete, frozen and hashable."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from ablate.spec.base import Spec, wrong
from ablate.spec.data import Images
from ablate.spec.encoder import TinyResNet
from ablate.spec.fit import misfits
from ablate.spec.inner import InnerSpec
from ablate.spec.method import SimCLR
from ablate.spec.parts import (
    LOSSES_OF_METHOD,
    PRESET_OF_SOURCE,
    DataSpec,
    EncoderSpec,
    HeadSpec,
    LossSpec,
    MethodSpec,
)
from ablate.spec.views import ViewSpec


class _Optim(Spec):
    epochs: int = Field(10, ge=0, le=10_000, description="0 leaves the encoder untrained")
    batch: int = Field(256, ge=2, description="images a step, over all workers")
    warmup_epochs: float = Field(1.0, ge=0, description="linear from 0 to lr")
    final_lr: float = Field(0.0, ge=0, le=1, description="where the cosine ends, as a share of lr")
    weight_decay: float = Field(1e-4, ge=0, description="on weights of the encoder; never on biases or norms")
    head_weight_decay: float = Field(0.0, ge=0, description="on weights of the head (it confounds sparsity)")

    @model_validator(mode="after")
    def _warmup_fits(self) -> _Optim:
        if self.epochs and self.warmup_epochs >= self.epochs:
            raise wrong("warmup_epochs", f"{self.warmup_epochs:g} must be below epochs ({self.epochs})")
        return self


class SGD(_Optim):
    kind: Literal["sgd"] = "sgd"
    lr: float = Field(0.2, gt=0, description="not scaled by the batch size")
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> SGD:
        if self.nesterov and not self.momentum:
            raise wrong("nesterov", "needs a momentum above 0")
        return self


class LARS(_Optim):
    kind: Literal["lars"] = "lars"
    lr: float = Field(gt=0, description="not scaled by the batch size")
    momentum: float = Field(0.9, ge=0, lt=1)
    trust: float = Field(0.001, gt=0, description="trust coefficient; biases and norms are not adapted")


class AdamW(_Optim):
    kind: Literal["adamw"] = "adamw"
    lr: float = Field(gt=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)


OptimSpec = Annotated[SGD | LARS | AdamW, Field(discriminator="kind")]


class ComputeSpec(Spec):
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast; slower than fp32 on CPUs")
    batch_stats: Literal["global", "local"] = Field(
        "global", description="batch norm statistics over all workers, or over each worker's share"
    )
    view_stats: Literal["together", "apart"] = Field(
        "together",
        description="batch norm statistics over both views of a batch, or over one view at a time (slower)",
    )
    microbatch: int | None = Field(
        None,
        ge=2,
        description="images that go through the networks at once, on each worker; the loss sees the whole "
        "batch all the same (GradCache), for one forward pass more. Batch norm then has the statistics of a "
        "microbatch; null: all at once",
    )
    checkpoint_activations: bool = Field(
        False,
        description="keep the outputs of the encoder's residual blocks only and compute the rest again for "
        "the gradient: less memory, one forward pass of the encoder more, the same numbers",
    )
    images: Images = Field(
        "auto",
        description="resident: all pixels on the device; stream: they stay on disk and are decoded batch by "
        "batch, for the same numbers; auto: resident if they fit into 0.35 of the device's memory, or of "
        "the share of a GPU that a packed trial has (resources.gpus)",
    )
    compile: bool = Field(
        False,
        description="torch.compile of the networks in training, with CUDA graphs on CUDA: faster steps after "
        "a slow first one, other rounding",
    )


Diagnosis = Literal[
    "layers", "factors", "head", "subset", "generalisation", "margins", "inner", "augmentation"
]


class MeasureSpec(Spec):
    every: int = Field(1, ge=1, description="epochs between measurements; the last epoch is always measured")
    also: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)] = Field(
        (), description="epochs measured besides, such as the rungs of a scheduler"
    )
    knn: int = Field(20, ge=1, le=1000, description="neighbours of the k-NN probe")
    probe_l2: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(strict=False, min_length=1)] = Field(
        (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
        description="candidates for the probe's L2 strength, chosen on an inner split of train",
    )
    images: int = Field(
        50_000,
        ge=100,
        description="training images, at most, that probes, ranks and spectra are of: of more, so many are "
        "chosen in the proportions of the classes, the same at every epoch",
    )
    lidar: int | None = Field(
        None, ge=2, le=100, description="views an image for LiDAR, which costs time; null: not measured"
    )
    diagnose: Annotated[tuple[Diagnosis, ...], Field(strict=False)] = Field(
        (), description="what is looked into besides, once, after the last epoch"
    )
    collapse: float = Field(
        1e-3,
        ge=0,
        lt=1,
        description="complete collapse: mean per-dimension spread of sqrt(d) * z/|z| below this",
    )

    def at(self, epoch: int) -> bool:
        """Whether ``epoch`` is measured, even if it is not the last."""
        return epoch % self.every == 0 or epoch in self.also


def _left_out_in_schema(schema: dict[str, Any]) -> None:
    schema["required"] = [name for name in schema["required"] if name not in ("views", "loss")]


class TrialSpec(Spec):
    """One trial. What is left out of ``views`` is the data source's preset, and a ``loss`` that names no
    ``kind`` is the method's own; a resolved spec shows all."""

    model_config = ConfigDict(json_schema_extra=_left_out_in_schema)

    data: DataSpec
    views: ViewSpec
    encoder: EncoderSpec = TinyResNet()
    method: MethodSpec = SimCLR()
    head: HeadSpec
    loss: LossSpec
    optim: OptimSpec
    inner: InnerSpec | None = Field(None, description="null: encoder and head take every step together")
    compute: ComputeSpec = ComputeSpec()
    measure: MeasureSpec = MeasureSpec()
    seed: int = Field(0, ge=0, lt=2**31)

    @model_validator(mode="before")
    @classmethod
    def _views_of_source(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        views, data = value.get("views", {}), value.get("data")
        source = data.get("kind") if isinstance(data, dict) else getattr(data, "kind", None)
        if not isinstance(views, dict) or "preset" in views or len(views) == len(ViewSpec.model_fields):
            return value
        # A source that is missing or unknown is refused for itself; its views should not be a second mistake.
        preset = PRESET_OF_SOURCE.get(str(source), "photos-32")
        return {**value, "views": {"preset": preset, **views}}

    @model_validator(mode="before")
    @classmethod
    def _loss_of_method(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        loss, method = value.get("loss", {}), value.get("method", SimCLR())
        kind = method.get("kind") if isinstance(method, dict) else getattr(method, "kind", None)
        if not isinstance(loss, dict) or "kind" in loss or kind not in LOSSES_OF_METHOD:
            return value
        return {**value, "loss": {"kind": LOSSES_OF_METHOD[kind][0], **loss}}

    @model_validator(mode="after")
    def _parts_fit(self) -> TrialSpec:
        for at, message in misfits(self):
            raise wrong(at, message)
        return self

    @property
    def width(self) -> int:
        """D, the dimension of the representation ``h``."""
        return self.encoder.features(self.views.size)
