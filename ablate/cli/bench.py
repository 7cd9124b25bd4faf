"""`ablate bench`: ratios against peers as a table; the status says whether every target was reached."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli.errors import user_errors

if TYPE_CHECKING:
    from ablate.bench import Suite

bench_app = typer.Typer(
    help="Ratios against peers, in one run on this machine. Status 1: a target was missed.",
    no_args_is_help=True,
)

Quick = Annotated[
    bool, typer.Option("--quick", help="Few, short runs, without targets: to see that it works.")
]
Repeats = Annotated[int | None, typer.Option(min=1, help="Repetitions; default 3, with --quick 1.")]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")]
Photos = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Photos to use, image or parquet files anywhere below; none: made-up ones."
    ),
]
Say = Callable[[str], None]


@bench_app.command("sweep")
def bench_sweep(quick: Quick = False, repeats: Repeats = None, json: Json = None) -> None:
    """What a sweep costs beside the training, against Ray Tune. Takes about half an hour."""
    from ablate.bench.sweep_suite import QUICK, Sizes, sweep_suite

    sizes = QUICK if quick else Sizes()
    _bench(lambda _scratch, say: sweep_suite(sizes, say), quick, repeats, json)


@bench_app.command("views")
def bench_views(
    quick: Quick = False, repeats: Repeats = None, json: Json = None, photos: Photos = None
) -> None:
    """Two random views of images in memory, against torchvision and kornia."""
    from ablate.bench.views_suite import QUICK, Sizes, views_suite

    sizes = QUICK if quick else Sizes()
    _bench(lambda scratch, say: views_suite(sizes, scratch, photos, say), quick, repeats, json)


@bench_app.command("load")
def bench_load(
    quick: Quick = False, repeats: Repeats = None, json: Json = None, photos: Photos = None
) -> None:
    """From a data set on disk to two random views, against torchvision and plain FFCV."""
    from ablate.bench.load_suite import QUICK, Sizes, load_suite

    sizes = QUICK if quick else Sizes()
    _bench(lambda scratch, say: load_suite(sizes, scratch, photos, say), quick, repeats, json)


@bench_app.command("step")
def bench_step(quick: Quick = False, repeats: Repeats = None, json: Json = None) -> None:
    """Whole steps of SimCLR, against lightly and against the encoder alone."""
    from ablate.bench.step_suite import QUICK, Sizes, step_suite

    sizes = QUICK if quick else Sizes()
    _bench(lambda scratch, say: step_suite(sizes, scratch, say), quick, repeats, json)


@bench_app.command("start")
def bench_start(quick: Quick = False, repeats: Repeats = None, json: Json = None) -> None:
    """How long a trial takes to its first step, cold and in a warm slot."""
    from ablate.bench.start_suite import QUICK, Sizes, start_suite

    sizes = QUICK if quick else Sizes()
    _bench(lambda scratch, say: start_suite(sizes, scratch, say), quick, repeats, json)


@bench_app.command("memory")
def bench_memory(quick: Quick = False, repeats: Repeats = None, json: Json = None) -> None:
    """What InfoNCE of a very large batch needs, in chunks and at once. Takes up to 16 GiB."""
    from ablate.bench.memory_suite import QUICK, Sizes, memory_suite

    sizes = QUICK if quick else Sizes()
    _bench(lambda scratch, say: memory_suite(sizes, scratch, say), quick, repeats, json)


@bench_app.command("gpu")
def bench_gpu(quick: Quick = False, repeats: Repeats = None, json: Json = None) -> None:
    """Steps of ResNets on a CUDA device, eager and compiled, alone and packed."""
    from ablate.bench.gpu_suite import QUICK, Sizes, gpu_suite

    sizes = QUICK if quick else Sizes()
    _bench(lambda scratch, say: gpu_suite(sizes, scratch, say), quick, repeats, json)


def _bench(
    suite_in: Callable[[Path, Say], Suite], quick: bool, repeats: int | None, json: Path | None
) -> None:
    """Take the figures of a suite, which may keep what it prepares in the folder that it is given."""
    from rich.console import Console

    from ablate.bench import take
    from ablate.bench.show import table, write_json

    console = Console()

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    with user_errors(), TemporaryDirectory(prefix="ablate-bench-") as scratch:
        suite = suite_in(Path(scratch), say)
        suite = suite.without_targets() if quick else suite
        records = take(suite, repeats=repeats or (1 if quick else 3), command=_command(), say=say)
    say("\n" + suite.about)
    console.print(table(records), soft_wrap=True)
    if json is not None:
        write_json(records, json)
    if any(record.held is False for record in records):
        raise typer.Exit(1)


def _command() -> str:
    return " ".join(["ablate", *sys.argv[1:]])
