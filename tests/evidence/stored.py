"""A sweep in a bucket outlives its machine: the whole way, by the commands that a user types.

The bucket is moto's, over the S3 protocol. The first machine is a folder that is deleted once its driver has
been killed, the second a folder with nothing in it; neither shares anything with the other but the bucket.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from ablate.ledger import Event, Ledger, Store
from ablate.ledger.bucket import read_segments
from ablate.search import replay
from tests.evidence.checks import ABLATE, SHORT, SPARSEHEAD, finished, same_as_alone
from tests.evidence.harness import ROOT, Finding, check
from tests.ledger.object_store import s3_bucket

NAME, TRIALS = "sparsehead", 22
REFUSED = "another driver is running this sweep: process"
PATIENCE = 180.0  # seconds for a lease to run out


@check("stored")
def stored(scratch: Path) -> Finding:
    one, two = scratch / "one", scratch / "two"
    two.mkdir()
    with s3_bucket() as url:
        refused = [killed_when_it_had(3, one, two, url)]
        before = finished(one / "runs" / NAME / "ledger.jsonl")
        shutil.rmtree(one)
        tried = []
        until = time.monotonic() + PATIENCE
        while (done := resume(two, url)).returncode and time.monotonic() < until:
            if REFUSED not in said(done):
                raise RuntimeError(f"the resume was refused for another reason:\n{said(done)}")
            tried.append(said(done))
            time.sleep(5)
        if done.returncode:
            raise RuntimeError(f"the lease did not run out:\n{said(done)}")
        recorded = [event for _, events in read_segments(Store.at(url, NAME)) for event in events]
    after = finished(two / "runs" / NAME / "ledger.jsonl")
    replay(recorded)
    complete = [trial for trial, event in after.items() if event["state"] == "COMPLETE"]
    specs = {e["trial"]: e["spec"] for e in recorded if e["event"] == "asked"}
    equal = [t for t in complete if same_as_alone(specs[t], after[t]["metrics"])]
    figures = {
        "second_driver_refused": all(REFUSED in text for text in refused),
        "refused_until_the_lease_ran_out": len(tried),
        "finished_before_the_kill": len(before),
        "of_them_lost_or_changed": sum(after.get(trial) != event for trial, event in before.items()),
        "finished_at_the_end": len(after),
        "went_on_from_checkpoints": went_on(recorded),
        "bucket_and_folder_hold_the_same_record": recorded
        == Ledger.read(two / "runs" / NAME / "ledger.jsonl"),
        "complete_trials_equal_to_a_fresh_run": f"{len(equal)} of {len(complete)}",
    }
    return Finding(
        "A sweep stored over the S3 protocol, whose driver was killed and whose folder was deleted, is "
        "resumed from another working directory with an empty runs folder: nothing finished is lost or run "
        "twice, and while a driver runs it, anywhere, a second one is refused.",
        figures["second_driver_refused"]
        and not figures["of_them_lost_or_changed"]
        and figures["bucket_and_folder_hold_the_same_record"]
        and len(after) == TRIALS
        and len(equal) == len(complete) > 0,
        figures,
        "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in figures.items()),
    )


def killed_when_it_had(trials: int, one: Path, two: Path, url: str) -> str:
    """Run the sweep in ``one`` until so many trials are finished; try a driver in ``two``, then SIGKILL the
    first. Returns what the second said."""
    one.mkdir()
    words = [ABLATE, "sweep", ROOT / SPARSEHEAD, "--storage", url, *SHORT]
    with (one / "printed.txt").open("wb") as out:
        process = subprocess.Popen([*map(str, words)], cwd=one, stdout=out, stderr=out)
    try:
        while len(finished(one / "runs" / NAME / "ledger.jsonl")) < trials:
            if process.poll() is not None:
                raise RuntimeError(f"the sweep ended too early:\n{(one / 'printed.txt').read_text()}")
            time.sleep(0.2)
        second = resume(two, url)
        if second.returncode == 0:
            raise RuntimeError("a second driver was let in")
        return said(second)
    finally:
        process.kill()
        process.wait()


def resume(place: Path, url: str) -> subprocess.CompletedProcess[str]:
    """In a folder that has nothing of the sweep yet."""
    words = [str(ABLATE), "resume", NAME, "--storage", url]
    return subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def went_on(events: list[Event]) -> int:
    """Trials that were taken up after an epoch, not from their beginning."""
    return sum(epoch > 0 for e in events if e["event"] == "resumed" for epoch in e["epochs"].values())
