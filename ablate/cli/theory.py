"""`ablate theory`: claims of the papers, with what was expected, what was observed, and the verdict."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ablate.cli.errors import refuse
from ablate.spec import Mistake, SpecError
from ablate.spec.load import load_theory
from ablate.spec.theory import TheorySpec
from ablate.theory import Answer, answer


def check_theory(
    names: Sequence[str], folder: Path, overrides: Sequence[str], json_file: Path | None
) -> bool:
    """Run the named checks, or all in ``folder``, and print them; whether every claim holds.

    Raises SpecError, before anything runs, holding the mistakes of all files.
    """
    specs = _load([_file(name, folder) for name in names] or _all_in(folder), overrides)
    if json_file is not None and not json_file.absolute().parent.is_dir():
        refuse(f"--json {json_file}: there is no folder {json_file.parent}")
    console = Console()
    answers = []
    for spec in specs:
        found = answer(spec)
        _show(console, found)
        answers.append(found)
    _summary(console, answers)
    if json_file is not None:
        json_file.write_text(json.dumps(_as_json(answers), indent=1) + "\n", encoding="utf-8")
    return all(a.holds for a in answers)


def _load(files: Sequence[Path], overrides: Sequence[str]) -> list[TheorySpec]:
    specs: list[TheorySpec] = []
    mistakes: list[Mistake] = []
    for file in files:
        try:
            specs.append(load_theory(file, overrides))
        except SpecError as error:
            mistakes += error.mistakes
    if mistakes:
        raise SpecError(mistakes)
    return specs


def _file(name: str, folder: Path) -> Path:
    """A path as it is, or the name of a file in ``folder``."""
    known = folder / f"{name}.yaml"
    if known.is_file():
        return known
    if not Path(name).is_file():
        names = ", ".join(f.stem for f in sorted(folder.glob("*.yaml"))) or "none"
        refuse(f"{name}: neither a file nor a check (found in {folder}: {names})")
    return Path(name)


def _all_in(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.yaml"))
    if not found:
        refuse(f"{folder}: no checks there; name files, or the folder that holds them with --folder")
    return found


def _show(console: Console, found: Answer) -> None:
    table = Table("claim", "expected", "observed", "holds?", show_lines=True)
    for claim in found.claims:
        verdict = Text("holds", "green") if claim.holds else Text("DOES NOT HOLD", "bold red")
        table.add_row(Text(claim.claim), Text(claim.expected), Text(claim.observed), verdict)
    console.print(f"{found.name}: {' '.join(found.question.split())}", highlight=False, markup=False)
    console.print(table)
    console.print(f"{found.seconds:.1f} s\n", highlight=False)


def _summary(console: Console, answers: Sequence[Answer]) -> None:
    claims = [(a.name, claim) for a in answers for claim in a.claims]
    broken = [(name, claim) for name, claim in claims if not claim.holds]
    seconds = sum(a.seconds for a in answers)
    console.print(
        f"{len(claims) - len(broken)} of {len(claims)} claims hold; {seconds:.0f} s", highlight=False
    )
    for name, claim in broken:
        line = f"does not hold: {name}: {claim.claim}: expected {claim.expected}, observed {claim.observed}"
        typer.echo(line)


def _as_json(answers: Sequence[Answer]) -> dict[str, Any]:
    files = [{**asdict(a), "holds": a.holds} for a in answers]
    for file in files:
        for claim in file["claims"]:
            claim["numbers"] = {key: [_finite(v) for v in values] for key, values in claim["numbers"].items()}
    return {"holds": all(a.holds for a in answers), "checks": files}


def _finite(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None
