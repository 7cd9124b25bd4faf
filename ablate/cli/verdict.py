"""`ablate verdict`: what a sweep's confirmation established, or what runs from elsewhere do."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ablate.cli.errors import refuse, sweep_folder, user_errors

if TYPE_CHECKING:
    from ablate.report.claims import Claims
    from ablate.report.foreign import Columns, ForeignTable

app = typer.Typer()


class Mode(StrEnum):
    max = "max"
    min = "min"


@app.command()
def verdict(
    name: Annotated[
        str | None, typer.Argument(help="The sweep's name: its folder in --runs.", show_default=False)
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder that holds one folder for each sweep.")] = Path("runs"),
    from_parquet: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Runs from elsewhere: a Parquet file with one row each."),
    ] = None,
    from_mlflow: Annotated[
        str | None, typer.Option(metavar="EXPERIMENT", help="Runs from elsewhere: an MLflow experiment.")
    ] = None,
    uri: Annotated[
        str | None,
        typer.Option(help="MLflow store; none: $MLFLOW_TRACKING_URI, or mlflow.db in --runs."),
    ] = None,
    where: Annotated[
        str | None, typer.Option("--filter", help="MLflow filter, such as \"tags.stage = 'confirm'\".")
    ] = None,
    arm: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column (MLflow: param or tag) of the arm.")
    ] = None,
    seed: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column (MLflow: param or tag) of the seed.")
    ] = None,
    replicate: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of the independent search that a run belongs to."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column (MLflow: metric) of the score.")
    ] = None,
    mode: Annotated[Mode | None, typer.Option(help="Whether larger or smaller scores are better.")] = None,
    baseline: Annotated[str | None, typer.Option(help="The arm that all others are compared with.")] = None,
    margin: Annotated[
        float | None, typer.Option(help="The largest difference of the score that does not matter.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Chance of any false verdict over all comparisons; 0.05.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the verdicts there too.")
    ] = None,
) -> None:
    """Say which arms are better, worse, equivalent or neither: of a sweep, or of runs from elsewhere.

    Of a sweep everything was declared before its confirmation. Of runs from elsewhere say what they are:
    --arm --seed --metric --mode --baseline.
    """
    foreign = {
        "--arm": arm, "--seed": seed, "--metric": metric, "--mode": mode, "--baseline": baseline,
    }  # fmt: skip
    optional = {"--replicate": replicate, "--margin": margin, "--alpha": alpha}
    of_mlflow = {"--uri": uri, "--filter": where}
    _check_source(name, from_parquet, from_mlflow, foreign | optional, of_mlflow)
    if name is not None:
        claims, source = _of_sweep(sweep_folder(name, runs)), name
    else:
        if lacking := [option for option, value in foreign.items() if value is None]:
            refuse(f"runs from elsewhere need {', '.join(lacking)} as well")
        _check_numbers(alpha, margin)
        source = str(from_parquet or from_mlflow)
        with user_errors():
            claims = _of_runs(from_parquet, from_mlflow, foreign, optional, uri=uri, where=where, runs=runs)
    _show(claims, source)
    if json_file is not None:
        _write(claims, source, json_file)


def _check_source(
    name: str | None,
    file: Path | None,
    experiment: str | None,
    foreign: dict[str, Any],
    of_mlflow: dict[str, Any],
) -> None:
    if sum(source is not None for source in (name, file, experiment)) != 1:
        refuse("name one source: a sweep, --from-parquet FILE or --from-mlflow EXPERIMENT")
    given = [option for option, value in (foreign | of_mlflow).items() if value is not None]
    if name is not None and given:
        refuse(f"{given[0]}: what a sweep compares was declared in its file; it is for runs from elsewhere")
    if file is not None and (odd := [option for option in given if option in of_mlflow]):
        refuse(f"{odd[0]}: is for --from-mlflow")


def _check_numbers(alpha: float | None, margin: float | None) -> None:
    if alpha is not None and not 0 < alpha <= 0.5:
        refuse(f"--alpha: must be above 0 and at most 0.5, found {alpha:g}")
    if margin is not None and not 0 < margin < float("inf"):
        refuse(f"--margin: must be above 0, found {margin:g}")


def _of_sweep(folder: Path) -> Claims:
    from ablate.ledger import Ledger
    from ablate.report.claims import claims_of
    from ablate.report.trials import ending, opening

    ledger = folder / "ledger.jsonl"
    with user_errors():
        events = Ledger.read(ledger) if ledger.is_file() else []
        if not events:
            refuse(f"{folder.name}: nothing has happened yet, so there is nothing to claim", 1)
        claims = claims_of(folder, events)
        if claims is None:
            planned = opening(events)["sweep"]["confirm"] is not None
            why = "is declared yet" if planned else "is to be confirmed: its file has no confirm"
            if planned and ending(events) is not None:
                why = "was confirmed before the sweep ended"
            refuse(f"{folder.name}: nothing {why}, and search scores are no result", 1)
    return claims


def _of_runs(
    file: Path | None,
    experiment: str | None,
    foreign: dict[str, Any],
    optional: dict[str, Any],
    *,
    uri: str | None,
    where: str | None,
    runs: Path,
) -> Claims:
    from ablate.report.foreign import Columns, ForeignError, claims_from

    columns = Columns(foreign["--arm"], foreign["--seed"], foreign["--metric"], optional["--replicate"])
    alpha = optional["--alpha"]
    try:
        table = _table(file, experiment, columns, uri=uri, where=where, runs=runs)
        return claims_from(
            table,
            baseline=foreign["--baseline"],
            metric=columns.metric,
            mode=foreign["--mode"].value,
            alpha=0.05 if alpha is None else alpha,
            margin=optional["--margin"],
        )
    except ForeignError as error:
        refuse(str(error))


def _table(
    file: Path | None, experiment: str | None, columns: Columns, *, uri: str | None, where: str | None,
    runs: Path,
) -> ForeignTable:  # fmt: skip
    if file is not None:
        from ablate.report.foreign import read_parquet

        return read_parquet(file, columns)
    from ablate.tracking.foreign import read_mlflow

    return read_mlflow(experiment or "", columns, runs=runs, uri=uri, where=where or "")


def _show(claims: Claims, source: str) -> None:
    from rich.console import Console

    from ablate.report.page import rich_table, show_claims
    from ablate.report.words import MEANINGS, score_rows

    console = Console()
    console.print(f"Verdicts on {source}", style="bold", highlight=False, markup=False)
    console.print("", rich_table(*score_rows(claims)), sep="\n")
    show_claims(claims, console)
    for word, meaning in MEANINGS.items():
        console.print(f"  {word}: {meaning}", style="dim", highlight=False, markup=False)


def _write(claims: Claims, source: str, file: Path) -> None:
    from ablate.report.words import tree

    content = {"source": source, **tree(claims)}
    try:
        file.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        refuse(f"{file}: cannot be written: {error.strerror}", 1)
