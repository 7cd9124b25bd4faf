"""`ablate pack`: how many trials share a GPU best, measured on this machine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli.errors import refuse, user_errors

if TYPE_CHECKING:
    from ablate.spec.trial import TrialSpec
    from ablate.trial.packing import Packing

app = typer.Typer()


class Device(StrEnum):
    cuda = "cuda"
    cpu = "cpu"


@app.command()
def pack(
    file: Annotated[Path, typer.Argument(help="A sweep's or a trial's file.", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Replace a value, such as base.optim.batch=512. Repeatable."
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="What the trials are to share.")] = Device.cuda,
    most: Annotated[int, typer.Option(min=1, max=64, help="Trials at a time, at most.")] = 8,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads a trial; none: the sweep's resources.cpus, or 1.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="How long each number of trials is timed.")] = 5.0,
    cache: Annotated[
        Path | None, typer.Option(help="Built data sets; default $ABLATE_CACHE or ~/.cache/ablate.")
    ] = None,
) -> None:
    """Measure how many trials train fastest at a time on one GPU, and say what to write for resources.gpus.

    Of a sweep it takes the trial of its space that is likely to need most. `resources.gpus: auto` has a sweep
    measure it itself, where it runs.
    """
    with user_errors():
        spec, what, cpus = _trial_of(file, overrides or [])
        import torch

        if device is Device.cuda and not torch.cuda.is_available():
            refuse(
                "no GPU that CUDA can use: run this on a machine that has one, or measure how many trials "
                "share the CPUs with --device cpu"
            )
        from ablate.data import build, default_cache
        from ablate.trial.packing import counts_to, measure_packing

        build(spec.data, cache or default_cache(), progress=True)
        packing = measure_packing(
            spec,
            device=torch.device(device.value),
            cache=cache or default_cache(),
            threads=threads or cpus,
            counts=counts_to(most),
            seconds=seconds,
        )
    _show(packing, what)


def _trial_of(file: Path, overrides: list[str]) -> tuple[TrialSpec, str, int]:
    """The trial to measure, what it is in words, and the CPUs that it has."""
    from ablate.spec import load_sweep, load_trial
    from ablate.spec.layers import read_layers

    tree, _ = read_layers(file, overrides)
    if not {"base", "space"} & set(tree.value):
        return load_trial(file, overrides), "the trial", 1
    sweep = load_sweep(file, overrides)
    if sweep.resources.workers > 1:
        refuse(
            f"resources.workers is {sweep.resources.workers}: several workers on one GPU fail under NCCL, so "
            "that such trials are not packed"
        )
    from ablate.trial.heaviest import heaviest

    return *heaviest(sweep), sweep.resources.cpus


def _show(packing: Packing, what: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from ablate.durable import in_words

    console = Console()
    columns = ("trials at a time", "views/s together", "views/s each", "against one", "memory each")
    table = Table(*columns, title=f"{packing.device}, {in_words(packing.memory)}")
    one = packing.measured[0].views_per_second
    for found in packing.measured:
        speed, each = found.views_per_second, found.views_per_second / found.trials
        shown = [f"{speed:,.0f}", f"{each:,.0f}", f"{speed / one:.2f}", in_words(found.memory)]
        table.add_row(str(found.trials), *(["", "", "", found.failure] if found.failure else shown))
    console.print(table)
    lines = [f"Measured with {what}, {packing.threads} CPU thread(s) each.", packing.choice.reason]
    for line in (*lines, _advice(packing)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _advice(packing: Packing) -> str:
    trials, cpus = packing.choice.trials, packing.choice.trials * packing.threads
    if packing.device == "cpu":
        return f"To write: resources.slots: {trials}, with resources.cpus: {packing.threads}"
    return (
        f"To write: resources.gpus: {packing.choice.gpus:g}, with resources.slots at least {trials} and "
        f"{cpus} CPU(s) for each GPU"
    )
