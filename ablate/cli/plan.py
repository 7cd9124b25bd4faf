"""`ablate plan`: what a sweep will cost and can conclude; afterwards, what came of the forecast."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablate.cli.errors import refuse, sweep_folder, user_errors

if TYPE_CHECKING:
    from ablate.ledger import Event
    from ablate.report.planning.check import Check
    from ablate.report.planning.pilot import Pace
    from ablate.report.planning.plan import Plan

app = typer.Typer()

_MANY = 5  # arms whose pace is shown


@app.command()
def plan(
    file: Annotated[
        Path,
        typer.Argument(
            help="The sweep's YAML file; with --check the sweep that was run: its folder, or its name in "
            "--runs.",
            show_default=False,
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Replace a value, such as confirm.seeds=8. Repeatable."
        ),
    ] = None,
    pilot: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SWEEP",
            help="An earlier or a short sweep that tells noise and pace: its folder, or its name in --runs. "
            "Repeatable.",
        ),
    ] = None,
    sd: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of the paired differences between two arms, instead of a pilot's."
        ),
    ] = None,
    effect: Annotated[
        float | None, typer.Option(help="A difference that must not be missed; default confirm.margin.")
    ] = None,
    power: Annotated[float, typer.Option(help="Probability with which it must be found.")] = 0.8,
    price_cpu_hour: Annotated[float | None, typer.Option(help="Price of an hour of one CPU.")] = None,
    price_gpu_hour: Annotated[float | None, typer.Option(help="Price of an hour of one GPU.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers there too.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the plan there, for --check. Never overwritten.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(metavar="PLAN", help="A plan that was kept: compare it with the sweep that was run."),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder in which sweeps are looked up by name.")] = Path("runs"),
) -> None:
    """Say what a sweep will cost, what it can conclude and what not, before it is run.

    Exit status 1: as it is planned, it cannot conclude what it asks; the reason comes first.
    """
    _check_numbers(sd=sd, effect=effect, price_cpu_hour=price_cpu_hour, price_gpu_hour=price_gpu_hour)
    if not 0 < power < 1:
        refuse(f"--power must lie between 0 and 1, found {power:g}")
    if write is not None and write.exists():
        refuse(f"{write}: is there already, and a plan is not overwritten; name another file")
    if check is not None:
        if any(given is not None for given in (overrides, pilot, sd, effect, write)):
            refuse("--check takes a plan and the sweep that was run, and nothing to plan anew")
        _check(check, file, runs, json_file)
        return
    from ablate.report.planning.cost import Prices
    from ablate.report.planning.pilot import read_pilot
    from ablate.report.planning.plan import make_plan
    from ablate.spec import load_sweep

    with user_errors():
        sweep = load_sweep(file, overrides or [])
        found = [_recorded(name, runs) for name in pilot or []]
        pilots = [read_pilot(events, folder) for folder, events in found]
        made = make_plan(
            sweep,
            pilots,
            sd=sd,
            effect=effect,
            target=power,
            prices=Prices(price_cpu_hour, price_gpu_hour),
        )
    for target in (json_file, write):
        if target is not None:
            _write(target, made)
    _show("\n".join(_lines(made)), _amounts(made), "\n".join(_details(made)))
    if made.refusals:
        raise typer.Exit(1)


def _check_numbers(**options: float | None) -> None:
    """Prices may be 0, sizes not; none may be infinite or no number."""
    for name, value in options.items():
        least = "0 or more" if name.startswith("price") else "above 0"
        if value is not None and not (0 <= value < math.inf and (value or least == "0 or more")):
            refuse(f"--{name.replace('_', '-')} must be {least}, found {value:g}")


def _recorded(name: str, runs: Path) -> tuple[Path, list[Event]]:
    """The folder of a sweep, given by path or by name, and the events of its ledger."""
    from ablate.ledger import Ledger

    folder = Path(name) if (Path(name) / "sweep.json").is_file() else sweep_folder(name, runs)
    ledger = folder / "ledger.jsonl"
    events = Ledger.read(ledger) if ledger.is_file() else []
    if not events or events[0]["event"] != "opened":
        refuse(f"{folder}: nothing has happened in this sweep yet, so it tells nothing", 1)
    return folder, events


def _write(file: Path, content: Plan | Check) -> None:
    from pydantic import TypeAdapter

    tree = TypeAdapter(type(content)).dump_python(content, mode="json")
    try:
        file.write_text(json.dumps(tree, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        refuse(f"{file}: cannot be written: {error.strerror}", 1)


# --- the plan --------------------------------------------------------------------------------------------


def _show(above: str, rows: list[list[str]], below: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    head, *body = rows
    table = Table(show_edge=False, pad_edge=False)
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i == 0 else "right")
    for row in body:
        table.add_row(*row)
    console.print(above, highlight=False, markup=False, soft_wrap=True)
    console.print(table)
    console.print(below, highlight=False, markup=False, soft_wrap=True)


def _lines(made: Plan) -> Iterator[str]:
    if made.refusals:
        yield f"{made.name}: not to be promised"
        yield from (f"  - {reason}" for reason in made.refusals)
    d = made.design
    if not d.looks:
        return
    repeated = f"{d.seeds} seeds each" + (
        "" if d.unit == "seed" else f" in each of {d.replicates} replicates"
    )
    count = f"{d.family} comparison{'s' * (d.family != 1)}"
    yield f"{made.name}: {', '.join(d.arms)}: {count} on {repeated}, alpha {d.alpha:g} after Holm"
    if len(d.looks) > 1:
        looks = ", ".join(f"{n} ({a:.2g})" for n, a in zip(d.looks, d.alphas, strict=True))
        yield f"looks after so many {d.unit}s, with their alpha: {looks}"


def _amounts(made: Plan) -> list[list[str]]:
    from ablate.report.planning.cost import GPU

    rows = [["", "expected", "at most"]]
    for name, amount in made.cost.amounts.items():
        if amount.most is not None and (amount.most or name != GPU):
            rows.append([name, _amount(amount.expected), _amount(amount.most)])
    return rows


def _amount(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _details(made: Plan) -> Iterator[str]:
    yield from _noise(made)
    yield from _promise(made)
    yield from _paces(made)
    yield from (f"unknown: {what}" for what in made.unknown)
    yield from (f"note: {note}" for note in made.notes)


def _paces(made: Plan) -> Iterator[str]:
    """A line for each stage."""
    for stage in ("search", "confirm"):
        of_stage = [(name, pace) for name, pace in made.cost.paces.items() if name.split()[0] == stage]
        shown = [_pace(name.split(" ", 1)[1], pace) for name, pace in of_stage[:_MANY]]
        if shown:
            more = f", and {len(of_stage) - _MANY} arms more" if len(of_stage) > _MANY else ""
            yield f"seconds an epoch in {stage} (80% of epochs): {', '.join(shown)}{more}"


def _pace(arm: str, pace: Pace) -> str:
    spread = f" ({pace.low:.3g} to {pace.high:.3g})" if pace.high > pace.low else ""
    whose = "" if pace.whose == arm else f" as of {pace.whose}"
    return f"{arm} {pace.seconds:.3g}{spread}{whose}"


def _noise(made: Plan) -> Iterator[str]:
    noise = made.noise
    if noise is None:
        return
    if noise.interval is None:
        yield f"noise: the sd of a paired difference is taken to be {noise.sd:.3g}, as given"
        return
    low, high = noise.interval
    what = {"seed": "seeds", "replicate": "replicates"}[noise.unit] if noise.source == "confirm" else "draws"
    spread = "" if noise.alike is None else f"; single pairs {noise.alike[0]:.2g} to {noise.alike[1]:.2g}"
    yield (
        f"noise: sd of a paired difference {noise.sd:.3g}, 95% interval {low:.2g} to {high:.2g} "
        f"({noise.arms} arms, {noise.blocks} {what} of {', '.join(made.pilots)}{spread})"
    )
    yield f"planned with {noise.cautious:.3g}, the upper 80% bound of that sd"


def _promise(made: Plan) -> Iterator[str]:
    d, p = made.design, made.promise
    if p.detectable is not None:
        within = "" if p.within is None else "; {:.2g} to {:.2g} over that interval".format(*p.within)
        images = "" if p.images is None else f", on test images like these {p.images}"
        found = f"with power {made.target:g} it finds a difference of {p.detectable:.2g} in {d.metric}"
        yield f"{found}{images}{within}"
    if p.effect is not None and p.power is not None and p.power_at_sd is not None:
        whose = "asked for" if p.asked else "the margin"
        at = (
            ""
            if made.noise is None or made.noise.freedom is None
            else f" ({p.power_at_sd:.2f} at the sd itself)"
        )
        yield f"a difference of {p.effect:g}, {whose}, is found with power {p.power:.2f}{at}"
    if d.margin is not None and p.equivalent is not None and p.equivalent <= d.margin:
        yield f"equal arms are shown to be equivalent within {d.margin:g} (from about {p.equivalent:.2g} on)"
    if len(d.looks) > 1 and p.mean_units is not None and p.mean_units_all is not None:
        yield (
            f"{p.mean_units:.1f} of {d.units} {d.unit}s are used on average if one arm differs so, "
            f"{p.mean_units_all:.1f} if all do"
        )


# --- afterwards ------------------------------------------------------------------------------------------


def _check(kept: Path, name: Path, runs: Path, json_file: Path | None) -> None:
    from ablate.report.planning.check import check_plan

    made = _kept(kept)
    with user_errors():
        found = check_plan(made, *_recorded(str(name), runs))
    if json_file is not None:
        _write(json_file, found)
    above = [f"{found.name}: the plan and what came of it" + ("" if found.ended else ", which has not ended")]
    if found.changed:
        above.append(f"not run as planned: {', '.join(found.changed)}")
    if found.elsewhere:
        above.append(found.elsewhere)
    rows = [["", "planned", "happened", "ratio"]]
    for row in found.rows:
        if row.happened or row.forecast:
            ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
            rows.append([row.name, _amount(row.forecast), _amount(row.happened), ratio])
    _show("\n".join(above), rows, "\n".join((*found.verdicts, found.gap)))


def _kept(file: Path) -> Plan:
    from pydantic import TypeAdapter, ValidationError

    from ablate.report.planning.plan import Plan

    try:
        return TypeAdapter(Plan).validate_json(file.read_bytes())
    except OSError as error:
        refuse(f"{file}: cannot be read: {error.strerror}")
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        refuse(f"{file}: not a plan that `ablate plan --write` of this version kept: {place}: {first['msg']}")
