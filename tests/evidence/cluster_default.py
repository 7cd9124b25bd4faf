"""The default sweep, just as its file has it, on a cluster of three hosts (``tests.evidence.cluster``)."""

from __future__ import annotations

import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from ablate.ledger import Event
from ablate.search import replay
from ablate.spec import load_sweep
from tests.cluster.hosts import missing
from tests.evidence.cluster import FILE, SWEEP, Site, alone, is_same, site, taken_down
from tests.evidence.harness import ROOT, Finding, check

NAME = "as-it-is"
STEP = 10  # trials of the search for which the patience of the check is to last


@check("cluster-default")
def default_sweep(scratch: Path) -> Finding:
    if reason := missing():
        raise SystemExit(f"no hosts can be made here: {reason}")
    with site(scratch) as here:
        here.up()
        began = time.monotonic()
        events = ran(here)
        figures: dict[str, Any] = {"seconds": round(time.monotonic() - began)}
        figures["trials of each worker"] = [len(trials) for trials in here.ran_on(NAME).values()]
        figures["left of Ray"] = taken_down(here)
    figures |= judged(events)
    print(figures, flush=True)
    return Finding(
        f"`ablate cluster submit {FILE} {SWEEP}` runs the default sweep, unchanged but for its name, across "
        "two workers to its end, with results equal to fresh runs of the same specs on one machine; after "
        "`ablate cluster down` nothing of Ray runs on any host.",
        figures["ended"]
        and figures["finished"] == figures["asked"] > 2 * STEP
        and figures["equal to a fresh run"] == figures["complete"] > 0
        and min(figures["trials of each worker"]) > 0
        and not any(figures["left of Ray"].values()),
        figures,
        "\n".join(f"- {name}: {value}" for name, value in figures.items()),
    )


def ran(here: Site) -> list[Event]:
    plan = load_sweep(ROOT / SWEEP)
    here.submit(NAME, short=())
    for count in range(STEP, len(plan.bases) * plan.search.trials + 1, STEP):
        here.await_asked(NAME, count)  # most of them finish late, once their rung is decided
    here.await_end(NAME)
    return here.ledger(NAME)


def judged(events: list[Event]) -> dict[str, Any]:
    replay(events)
    specs = {e["trial"]: json.dumps(e["spec"]) for e in events if e["event"] == "asked"}
    finished = [e for e in events if e["event"] == "finished"]
    complete = {e["trial"]: e["metrics"] for e in finished if e["state"] == "COMPLETE"}
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        fresh = dict(zip(complete, pool.map(alone, [specs[trial] for trial in complete]), strict=True))
    return {
        "ended": events[-1]["event"] == "ended",
        "asked": len(specs),
        "finished": len(finished),
        "complete": len(complete),
        "equal to a fresh run": sum(is_same(fresh[trial], complete[trial]) for trial in complete),
    }
