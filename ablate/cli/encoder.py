"""`ablate encoder`: the encoder of a finished trial, for use elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.errors import refuse, user_errors

app = typer.Typer()


@app.command()
def encoder(
    folder: Annotated[
        Path, typer.Argument(help="A finished trial's folder, with spec.json, encoder.pt and head.pt.")
    ],
    torchvision: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write torchvision's own state dict there (resnet18, 34, 50)."),
    ] = None,
    mlflow: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a model in MLflow's format there, of uint8 images to h."),
    ] = None,
) -> None:
    """Export a trained encoder to torchvision's state dict, or to MLflow's model format."""
    if torchvision is None and mlflow is None:
        refuse("nothing to do: give --torchvision FILE, --mlflow DIR or both")
    with user_errors():
        if torchvision is not None:
            from ablate.trial.encoder import write_torchvision

            how = write_torchvision(folder, torchvision)
            typer.echo(f"{torchvision}: torchvision's state dict without fc. To load it:\n\n{how}\n")
        if mlflow is not None:
            _save_for_mlflow(folder, mlflow)


def _save_for_mlflow(folder: Path, target: Path) -> None:
    from ablate.spec import spec_hash
    from ablate.tracking.encoder_model import save_encoder
    from ablate.trial.encoder import ImageEncoder, trained_encoder

    spec, trained = trained_encoder(folder)
    size = spec.views.size
    save_encoder(
        ImageEncoder(trained, spec.views),
        target,
        size=size,
        width=spec.width,
        metadata={"ablate.spec_hash": spec_hash(spec), "ablate.encoder": spec.encoder.as_dict()},
    )
    typer.echo(
        f"{target}: MLflow model of uint8 images [N, 3, {size}, {size}] to h [N, {spec.width}], normalised "
        f"inside. To load it: mlflow.pytorch.load_model({str(target)!r})"
    )
