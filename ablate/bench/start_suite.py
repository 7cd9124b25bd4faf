"""`ablate bench start`: how long one waits for the first step of a trial, cold and in a warm slot."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from ablate.bench.figures import BenchError, Contender, Figure, Measured, Suite, run_alone
from ablate.bench.pictures import made_up, write_source

# What `ablate train` does, until it has taken a step.
_FIRST_STEP = """\
import os, time
from torch.optim.optimizer import register_optimizer_step_post_hook

def end(*_):
    print("\\n", time.time(), flush=True)
    os._exit(0)

register_optimizer_step_post_hook(end)
from ablate.cli import main
main()
"""
_IMPORT_TORCH = "import time, torch; print(time.time())"
_HELP = "from ablate.cli import main; main()"

_ABOUT = """\
All in processes of their own on a warm page cache, the median of several after one that is not counted. First
step: from the start of the process until the first optimiser step of `ablate train` on a built beton (32 px,
SimCLR's views, a tiny ResNet). Against it: the same clock around `import torch` alone. Warm slot: a second
trial (other learning rate, temperature and head) in a process that has run one, from its spec to its first
optimiser step; and one with another seed, which splits the data anew. `ablate --help`: the whole process,
against a Python that does nothing.
"""


@dataclass(frozen=True)
class Sizes:
    """``runs`` of each program, of which the median counts; training ``images`` of the trials."""

    runs: int = 5
    images: int = 1000
    batch: int = 128
    width: int = 16


QUICK = Sizes(runs=1, images=64, batch=16, width=4)


def start_suite(sizes: Sizes, scratch: Path, say: Callable[[str], None] = lambda _: None) -> Suite:
    """Contenders and figures. Builds the data set in ``scratch`` first."""
    say("building the data set")
    tree, cache = trial_tree(sizes, scratch / "images"), scratch / "cache"
    run_alone(
        Contender("building the data set", partial(prepare, tree=tree, cache=cache, count=sizes.images))
    )
    file = scratch / "trial.yaml"
    file.write_text(json.dumps(tree))
    train = [_FIRST_STEP, "train", str(file), "--cache", str(cache)]
    contenders = (
        Contender("train", partial(run_until_told, words=train, runs=sizes.runs)),
        Contender("import torch", partial(run_until_told, words=[_IMPORT_TORCH], runs=sizes.runs)),
        Contender("warm", partial(run_warm, tree=tree, cache=cache, runs=sizes.runs)),
        Contender("help", partial(run_to_the_end, words=[_HELP, "--help"], runs=sizes.runs)),
        Contender("python", partial(run_to_the_end, words=["pass"], runs=sizes.runs)),
    )
    process, first = "process start to the first step", "train/seconds"
    figures = (
        Figure(process, "import torch", first, "import torch/seconds", "s", "ours/theirs"),
        Figure("second trial in a warm slot", process, "warm/second", first, "s", ours_below=0.3),
        Figure("the same, another seed", process, "warm/other seed", first, "s"),
        Figure("ablate --help", "python -c pass", "help/seconds", "python/seconds", "s", "ours/theirs",
               ours_below=0.5),
    )  # fmt: skip
    return Suite("start", _ABOUT, contenders, figures)


def trial_tree(sizes: Sizes, source: Path) -> dict[str, Any]:
    """The trial as its file has it."""
    return {
        "data": {"kind": "parquet", "path": str(source)},
        "encoder": {"kind": "tiny-resnet", "width": sizes.width, "blocks": [1, 1, 1]},
        "head": {"kind": "mlp", "depth": 2, "hidden": 64, "out": 32, "norm": "batch"},
        "loss": {"kind": "info-nce", "temperature": 0.2},
        "optim": {"kind": "sgd", "lr": 0.06, "epochs": 1, "batch": sizes.batch, "warmup_epochs": 0.0},
    }


def prepare(_folder: Path, *, tree: dict[str, Any], cache: Path, count: int) -> Measured:
    """Write the source and build its beton: how many training ``images``."""
    from ablate.data import build
    from ablate.spec.trial import TrialSpec

    write_source(Path(tree["data"]["path"]), made_up(count, 32))
    return {"images": build(TrialSpec.model_validate(tree).data, cache).train}


def run_until_told(_folder: Path, *, words: list[str], runs: int) -> Measured:
    """``seconds`` from starting ``python -c words...`` until the moment that it prints last."""
    return {"seconds": _typical(lambda: -time.time() + float(_output(words).split()[-1]), runs)}


def run_to_the_end(_folder: Path, *, words: list[str], runs: int) -> Measured:
    """``seconds`` that ``python -c words...`` takes."""

    def once() -> float:
        began = time.perf_counter()
        _output(words)
        return time.perf_counter() - began

    return {"seconds": _typical(once, runs)}


def _typical(once: Callable[[], float], runs: int) -> float:
    once()  # reads what is not in the page cache yet
    return median(once() for _ in range(runs))


def _output(words: list[str]) -> str:
    done = subprocess.run([sys.executable, "-c", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"python -c ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def run_warm(_folder: Path, *, tree: dict[str, Any], cache: Path, runs: int) -> Measured:
    """Seconds from a spec to the first optimiser step, all in one process: of the ``first`` trial, of a
    ``second`` (the median of several), and of one with an ``other seed``."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from ablate.spec.trial import TrialSpec
    from ablate.trial import TrialRun

    steps: list[float] = []
    hook = register_optimizer_step_post_hook(lambda *_: steps.append(time.perf_counter()))

    def first_step(number: int, seed: int = 0) -> float:
        changed = {
            "head": {**tree["head"], "hidden": 64 + 8 * number},
            "loss": {**tree["loss"], "temperature": 0.2 + 0.01 * number},
            "optim": {**tree["optim"], "lr": 0.06 + 0.01 * number},
        }
        steps.clear()
        began = time.perf_counter()
        spec = TrialSpec.model_validate({**tree, **changed, "seed": seed})
        TrialRun(spec, cache=cache, device=torch.device("cpu")).step()
        return steps[0] - began

    found = {
        "first": first_step(0),
        "second": median(first_step(number) for number in range(1, runs + 1)),
        "other seed": first_step(runs + 1, seed=1),
    }
    hook.remove()
    return found
