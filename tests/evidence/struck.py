"""Real trials that are struck amid their work, and those that outlive their driver.

This module goes to Ray's workers by value, so it imports nothing of the tests. Faults are armed by files in
the cache folder and strike once.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ablate.spec.trial import TrialSpec
from ablate.trial import Checkpoint, TrialRun

ROOT = Path(__file__).parents[2]
SLOW = 1.0  # seconds more for a step
OUTLIVES = 60.0  # seconds that a worker without a driver waits at most for the next one to have begun


def struck(spec: TrialSpec, *, cache: Path, **seam: Any) -> TrialRun:
    """Rank N is killed amid a step of its second epoch (file kill-rank-N), stands still before it
    (sleep-rank-N), or its node is noticed in it (notice-rank-N)."""
    trial = TrialRun(spec, cache=cache, **seam)
    rank = trial.world.rank
    if (cache / f"kill-rank-{rank}").exists():
        threading.Thread(target=_kill, args=(trial, cache / f"kill-rank-{rank}"), daemon=True).start()
    if (cache / f"sleep-rank-{rank}").exists():
        fault = cache / f"sleep-rank-{rank}"
        trial.advance = partial(_sleep, trial, trial.advance, fault)  # type: ignore[method-assign]
    if (cache / f"notice-rank-{rank}").exists():
        fault = cache / f"notice-rank-{rank}"
        trial.advance = partial(_notice, trial, trial.advance, fault)  # type: ignore[method-assign]
    return trial


def _kill(trial: TrialRun, fault: Path) -> None:
    while trial.epoch < 1:
        time.sleep(0.001)
    before = trial.progress
    while trial.progress == before or not fault.exists():
        time.sleep(0.001)
    fault.unlink()
    os.kill(os.getpid(), signal.SIGKILL)


def _sleep(trial: TrialRun, advance: Any, fault: Path, pause: Callable[[], bool]) -> Any:
    if trial.epoch == 1 and fault.exists():
        fault.unlink()
        time.sleep(3600)
    return advance(pause)


def _notice(trial: TrialRun, advance: Any, fault: Path, pause: Callable[[], bool]) -> Any:
    """Its steps are slow from then on, so that the notice is seen within the epoch."""
    if trial.epoch != 1 or not fault.exists():
        return advance(pause)
    fault.unlink()
    Path(os.environ["ABLATE_PREEMPTION"].removeprefix("file:")).touch()

    def slowly() -> bool:
        time.sleep(SLOW)
        return pause()

    return advance(slowly)


def outliving(spec: TrialSpec, *, cache: Path, **seam: Any) -> TrialRun:
    """From its first checkpoint on, a second worker is at the same trial, which no death of a driver ends:
    it waits until the sweep is resumed, and then goes on to write where the first one wrote."""
    trial = TrialRun(spec, cache=cache, **seam)
    save = trial.save

    def save_and_double(folder: Path) -> Checkpoint | None:
        checkpoint = save(folder)
        if checkpoint is not None and checkpoint.epoch == 1:
            copy = cache / f"old-{trial_name(folder)}.pt"  # the driver deletes the one that it knows of
            shutil.copy(checkpoint.path, copy)
            saved = vars(checkpoint) | {"path": str(copy)}
            words = [spec.model_dump_json(), json.dumps(saved), str(folder), str(cache)]
            program = [sys.executable, "-m", "tests.evidence.struck", *words]
            shell = ["sh", "-c", '"$@" >"$0" 2>&1 &', str(cache / f"old-{trial_name(folder)}.log"), *program]
            subprocess.run(shell, cwd=ROOT, start_new_session=True, check=True)
        return checkpoint

    trial.save = save_and_double  # type: ignore[method-assign]
    return trial


def trial_name(folder: Path) -> str:
    return folder.parent.name


def go_on(spec: TrialSpec, checkpoint: Checkpoint, folder: Path, cache: Path) -> None:
    """The second worker: ``folder`` is that of the trial's checkpoints under the driver that was killed."""
    trial = TrialRun(spec, cache=cache)
    trial.restore(checkpoint)
    ledger, since = folder.parents[2] / "ledger.jsonl", time.monotonic()
    while '"event":"resumed"' not in ledger.read_text():
        if time.monotonic() - since > OUTLIVES:
            return
        time.sleep(0.05)
    written = 0
    while not trial.done:
        trial.step()
        trial.save(folder)
        written += 1
    trial.finish(folder.parent, arm="search", stage="search")
    (cache / f"old-{trial_name(folder)}.txt").write_text(str(written))


if __name__ == "__main__":
    text, saved, where, data = sys.argv[1:]
    go_on(TrialSpec.model_validate_json(text), Checkpoint(**json.loads(saved)), Path(where), Path(data))
