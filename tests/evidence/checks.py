"""The long checks of the main job: the README's own commands, run as a user runs them."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ablate.ledger import Ledger
from ablate.report.claims import claims_of
from ablate.search import replay
from ablate.spec.trial import TrialSpec
from ablate.trial import run_trial
from tests.evidence.harness import ROOT, Finding, check
from tests.report.recalculated import recalculated

ABLATE = Path(sys.executable).with_name("ablate")
SPARSEHEAD = "search_spaces/sparsehead.yaml"
DATA = Path(os.environ.get("ABLATE_TEST_DATA", ROOT.parent / "shared" / "data"))
SHORT = ["--trials", "4", "--set", "base.optim.epochs=4", "--set", "search.scheduler.rungs=[2]",
         "--set", "base.measure={every: 2}", "--set", "confirm.seeds=2"]  # fmt: skip
NOT_REPEATABLE = {"views_per_second"}  # a clock reading, not a result


def ablate(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; its output is part of the evidence, so failures show it."""
    done = subprocess.run([ABLATE, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ablate {words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def rows_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "results.parquet").to_pylist()
    return rows


def count(rows: list[dict[str, Any]], **wanted: str) -> int:
    return sum(all(row[k] == v for k, v in wanted.items()) for row in rows)


def sweep_figures(folder: Path, seconds: float) -> dict[str, Any]:
    rows = rows_of(folder)
    search = count(rows, stage="search")
    return {
        "seconds": round(seconds),
        "search_trials": search,
        "stopped_share": round(count(rows, stage="search", state="PRUNED") / search, 3),
        "failed": count(rows, state="FAILED"),
        "collapsed": count(rows, state="COLLAPSED"),
        "confirm_trials": count(rows, stage="confirm"),
    }


@check("sweep")
def main_job(scratch: Path) -> Finding:
    """Built data and installed environment apart, everything `make sweep` does."""
    began = time.monotonic()
    printed = ablate("sweep", SPARSEHEAD, "--runs", scratch).stdout
    folder = scratch / "sparsehead"
    figures = sweep_figures(folder, time.monotonic() - began)
    figures |= verdict_figures(folder)
    return Finding(
        "`make sweep` runs at least 24 search trials and the confirmation within 6 minutes on two cores, and "
        "ends in a verdict on each arm that a calculation from its files alone repeats.",
        figures["seconds"] <= 360 and figures["search_trials"] >= 24 and figures["recalculated"],
        figures,
        f"{(folder / 'summary.md').read_text()}\n## Printed\n\n```\n{printed}```\n",
    )


def verdict_figures(folder: Path) -> dict[str, Any]:
    """The verdicts of a sweep with arms, and whether a calculation from its files alone has the same."""
    claims = claims_of(folder, Ledger.read(folder / "ledger.jsonl"))
    assert claims is not None
    pairs = [(v.comparison.arm, v.comparison.against) for v in claims.verdicts]
    alone = recalculated(folder, claims.metric, pairs, claims.seeds_used, claims.alpha, claims.margin)
    names = [f"{arm} - {against}" for arm, against in pairs]
    same = all(
        alone[name]["word"] == v.word
        and v.p is not None
        and math.isclose(float(alone[name]["p"]), v.p, rel_tol=1e-9)
        for name, v in zip(names, claims.verdicts, strict=True)
    )
    verdicts = {n: f"{v.word}, {v.mean:+.4f}" for n, v in zip(names, claims.verdicts, strict=True)}
    return {"verdicts": verdicts, "recalculated": same}


@check("cifar10")
def on_cifar10(scratch: Path) -> Finding:
    """The same file on real photographs: a subset of CIFAR-10 in Hugging Face's parquet layout."""
    source = DATA / "cifar10"
    if not source.is_dir():
        raise SystemExit(
            f"{source}: no such folder; set ABLATE_TEST_DATA to one that holds cifar10/*.parquet"
        )
    began = time.monotonic()
    ablate(
        "sweep", SPARSEHEAD, "--runs", scratch, "--trials", "4",
        "--set", f"base.data={{kind: parquet, path: {source}, train: 5000, test: 2000}}",
    )  # fmt: skip
    folder = scratch / "sparsehead"
    figures = sweep_figures(folder, time.monotonic() - began)
    return Finding(
        "The same file runs on CIFAR-10 (5,000 training images, 12 trials), compared with its controls; "
        "no trial fails.",
        figures["search_trials"] == 12 and figures["confirm_trials"] > 0 and figures["failed"] == 0,
        figures,
        (folder / "summary.md").read_text(),
    )


def finished(ledger: Path) -> dict[str, dict[str, Any]]:
    """Finish events by trial; raises if a trial finished twice."""
    found: dict[str, dict[str, Any]] = {}
    for event in Ledger.read(ledger) if ledger.exists() else []:
        if event["event"] == "finished":
            if event["trial"] in found:
                raise AssertionError(f"{event['trial']} finished twice")
            found[event["trial"]] = event
    return found


def kill_when(words: list[str | Path], ledger: Path, trials: int) -> None:
    """Start `ablate`, and SIGKILL its driver process once ``trials`` trials have finished."""
    process = subprocess.Popen(
        [ABLATE, *map(str, words)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while len(finished(ledger)) < trials:
        if process.poll() is not None:
            raise RuntimeError(f"the sweep ended with {process.returncode} before it could be killed")
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()


@check("crash")
def killed_and_resumed(scratch: Path) -> Finding:
    """SIGKILL the driver twice, resuming at once while its workers may still be alive."""
    ledger = scratch / "sparsehead" / "ledger.jsonl"
    kill_when(["sweep", SPARSEHEAD, "--runs", scratch, *SHORT], ledger, 3)
    first = finished(ledger)
    kill_when(["resume", "sparsehead", "--runs", scratch], ledger, len(first) + 3)
    second = finished(ledger)
    ablate("resume", "sparsehead", "--runs", scratch)
    last = finished(ledger)
    kept = all(last[t] == e for t, e in (first | second).items())
    events = Ledger.read(ledger)
    replay(events)
    specs = {e["trial"]: e["spec"] for e in events if e["event"] == "asked"}
    complete = [t for t, e in last.items() if e["state"] == "COMPLETE"]
    equal = [t for t in complete if same_as_alone(specs[t], last[t]["metrics"])]
    figures = {
        "finished_before_first_kill": len(first),
        "finished_before_second_kill": len(second),
        "finished_at_the_end": len(last),
        "lost_or_changed": 0 if kept else "some",
        "ledger_records": len(events),
        "complete_trials_equal_to_a_fresh_run": f"{len(equal)} of {len(complete)}",
    }
    held = kept and len(last) == 22 and len(equal) == len(complete)
    text = "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in figures.items())
    return Finding(
        "A sweep whose driver is killed twice loses no finished trial and runs none twice, its ledger "
        "replays to the same decisions, and every completed trial equals a fresh run of its spec.",
        held,
        figures,
        text,
    )


def same_as_alone(spec: dict[str, Any], metrics: dict[str, float]) -> bool:
    # Through JSON, as the spec left the ledger.
    alone = run_trial(TrialSpec.model_validate_json(json.dumps(spec))).metrics
    return all(alone[k] == v for k, v in metrics.items() if k not in NOT_REPEATABLE)
