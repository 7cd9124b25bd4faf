"""`ablate data`: what can be read, what has been built, what a data set holds, and what is seen of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from ablate.cli.contact_sheet import EPOCHS, contact_sheet
from ablate.cli.errors import refuse
from ablate.data import Beton, Split, build, default_cache, load, residence
from ablate.spec import TrialSpec, load_sweep, load_trial
from ablate.spec.layers import read_layers
from ablate.spec.paths import kinds, section


def show_list(cache: Path | None) -> None:
    """Print the kinds of source, then the data sets in ``cache``."""
    console = Console()
    sources = Table("data.kind", "what it is", title="Sources")
    for model in section(TrialSpec, "data"):
        sources.add_row(", ".join(kinds(model)), " ".join((model.__doc__ or "").replace("``", "").split()))
    console.print(sources)
    where = cache or default_cache()
    built = Table("digest", "data.kind", "train", "test", "classes", "pixels", title=f"Built in {where}")
    damaged = []
    for folder in sorted(f.parent for f in where.glob("*/meta.json")):
        try:
            built.add_row(*_built_row(folder))
        except (OSError, KeyError, TypeError, ValueError) as error:
            damaged.append(f"{folder}: damaged ({error!r}); delete this folder to have it built anew")
    console.print(built if built.row_count else f"Nothing is built in {where} yet.", soft_wrap=True)
    for line in damaged:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _built_row(folder: Path) -> list[str]:
    meta = json.loads((folder / "meta.json").read_text())
    height, width = meta["side"]
    return [
        str(meta["digest"]),
        str(meta["source"]["kind"]),
        str(meta["train"]),
        str(meta["test"]),
        str(len(meta["class_names"])),
        f"{height} x {width}",
    ]


def build_for(file: Path, overrides: Sequence[str], cache: Path | None) -> None:
    """Build what ``file``, a sweep or a trial, asks for. Raises SpecError or DataError."""
    console = Console()
    beton = build(_trial_of(file, overrides).data, cache or default_cache(), progress=console.is_terminal)
    console.print(_summary(beton), highlight=False, soft_wrap=True)


def inspect_for(file: Path, overrides: Sequence[str], cache: Path | None) -> None:
    """Print how many images of each class the splits of ``file`` have, and where a trial on this machine
    would keep their pixels. Raises SpecError or DataError."""
    console = Console()
    spec, where = _trial_of(file, overrides), cache or default_cache()
    beton = build(spec.data, where, progress=console.is_terminal)
    cpu = torch.device("cpu")
    # Streamed, so that no pixel is read.
    data = load(spec.data, seed=spec.seed, cache=where, device=cpu, threads=1, images="stream")
    device = torch.device("cuda") if torch.cuda.is_available() else cpu
    table = Table("class", "train", "val", "test", title=f"Images at seed {spec.seed}")
    splits = (data.train, data.val, data.test)
    for row in zip(data.class_names, *(_per_class(s, len(data.class_names)) for s in splits), strict=True):
        table.add_row(*map(str, row))
    table.add_section()
    table.add_row("all", *(str(len(s.labels)) for s in splits))
    console.print(_summary(beton), highlight=False, soft_wrap=True)
    console.print(
        f"images {residence(beton, spec.compute.images, device).why}", highlight=False, soft_wrap=True
    )
    console.print(table)


def views_for(file: Path, overrides: Sequence[str], images: int, out: Path, cache: Path | None) -> None:
    """Write a picture of training images of ``file`` and their views. Raises SpecError or DataError."""
    spec = _trial_of(file, overrides)
    where = cache or default_cache()
    cpu = torch.device("cpu")
    train = load(spec.data, seed=spec.seed, cache=where, device=cpu, threads=1, images="stream").train
    count = min(images, len(train.labels))
    rows = torch.arange(count) * (len(train.labels) // count)
    sheet = contact_sheet(train, rows, spec.views, seed=spec.seed, title=f"{file.name}, seed {spec.seed}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(out)
    except (OSError, ValueError) as error:  # a format that Pillow does not know is a ValueError
        refuse(f"{out}: cannot be written as a picture ({error}); name another file with --out")
    Console().print(f"{out}: {count} images, {2 * EPOCHS} views each", highlight=False, soft_wrap=True)


def _per_class(split: Split, classes: int) -> list[int]:
    return [int(n) for n in torch.bincount(split.labels, minlength=classes)]


def _summary(beton: Beton) -> str:
    height, width = beton.side
    return (
        f"{beton.folder}: {beton.train} training and {beton.test} test images of {height} x {width} pixels, "
        f"{len(beton.class_names)} classes"
    )


def _trial_of(file: Path, overrides: Sequence[str]) -> TrialSpec:
    """The trial of a trial's file, or the base of a sweep's."""
    tree, _ = read_layers(file, overrides)
    is_sweep = bool({"base", "space"} & set(tree.value))
    return load_sweep(file, overrides).base if is_sweep else load_trial(file, overrides)
