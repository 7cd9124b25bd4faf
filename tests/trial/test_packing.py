"""Packing: the choice from measurements, how far it goes up, and real processes on the CPU."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ablate.data import dataset
from ablate.machine import cpu_model
from ablate.spec import identity
from ablate.spec.draw import lookup
from ablate.spec.identity import code_digest, spec_hash
from ablate.spec.trial import TrialSpec
from ablate.trial import TrialRun, packing
from ablate.trial.heaviest import heaviest
from ablate.trial.packing import ROOM, WORTH, Measured, Packing, PackingError, choose, counts_to
from tests.search.synthetic import sweep
from tests.train.synthetic import tiny_trial

GIB = 2**30
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def small(**sections: Any) -> TrialSpec:
    optim = {"kind": "sgd", "lr": 0.2, "epochs": 2, "batch": 64}
    return tiny_trial(**({"data": {"kind": "digits", "train": 200, "test": 100}, "optim": optim} | sections))


# --- the choice ------------------------------------------------------------------------------------------

MEASURED = st.lists(
    st.tuples(
        st.integers(1, 16),
        st.floats(1, 1e6),
        st.integers(1, 2 * GIB),
        st.sampled_from(["", "", "out of memory"]),
    ),
    min_size=1,
    unique_by=lambda row: row[0],
).map(lambda rows: [Measured(*row) for row in sorted(rows)])


def fits(found: Measured) -> bool:
    return not found.failure and (found.trials == 1 or found.trials * found.memory <= ROOM * GIB)


@given(MEASURED)
def test_nothing_that_fits_is_much_faster_and_nothing_smaller_as_fast(measured: list[Measured]) -> None:
    fitting = [m for m in measured if fits(m)]
    if not fitting:
        with pytest.raises(PackingError, match="not even one trial"):
            choose(measured, GIB)
        return
    choice = choose(measured, GIB)
    (chosen,) = [m for m in measured if m.trials == choice.trials]
    greatest = max(m.views_per_second for m in fitting)
    assert fits(chosen)
    assert chosen.views_per_second >= (1 - WORTH) * greatest
    smaller = [m for m in fitting if m.trials < chosen.trials]
    assert all(m.views_per_second < (1 - WORTH) * greatest for m in smaller)


@given(MEASURED, st.integers(2, 1000))
def test_the_unit_of_speed_does_not_matter(measured: list[Measured], times: int) -> None:
    if not any(fits(m) for m in measured):
        return
    faster = [Measured(m.trials, m.views_per_second * times, m.memory, m.failure) for m in measured]
    assert choose(faster, GIB).trials == choose(measured, GIB).trials


@given(st.integers(1, 64))
def test_as_many_as_were_chosen_have_room_on_one_gpu_in_rays_arithmetic(trials: int) -> None:
    gpus = choose([Measured(trials, 1.0, 0)], GIB).gpus
    assert trials <= 1 / gpus < trials + 1
    assert gpus * 10_000 == pytest.approx(round(gpus * 10_000))  # Ray counts in ten-thousandths


def test_the_sentence_says_why_not_the_others() -> None:
    choice = choose(
        [
            Measured(1, 1000, GIB // 10),
            Measured(2, 1900, GIB // 10),
            Measured(4, 2500, GIB // 10),
            Measured(8, 2550, GIB // 10),
            Measured(16, 9000, GIB // 10),
            Measured(32, 0, 0, "out of memory"),
        ],
        GIB,
    )
    assert (choice.trials, choice.gpus) == (4, 0.25)
    assert choice.reason == (
        "4 trials at a time: 2,500 views/s together (1: 0.40 of that; 2: 0.76 of that; 8: 1.02 of that, and "
        "fewer, faster trials end earlier; 16: 3.60 of that, but 1.72 GB held of 1.07 GB; 32: out of memory)"
    )


def test_one_trial_alone_may_fill_the_memory() -> None:
    choice = choose([Measured(1, 10.0, GIB - 1)], GIB)
    assert (choice.trials, choice.gpus, choice.reason) == (1, 1.0, "1 trial at a time: 10 views/s together")


def test_counts() -> None:
    found = {most: counts_to(most) for most in (1, 2, 3, 6, 8)}
    assert found == {1: (1,), 2: (1, 2), 3: (1, 2, 3), 6: (1, 2, 4, 6), 8: (1, 2, 4, 8)}


# --- how far it goes up ----------------------------------------------------------------------------------


def measured_with(
    monkeypatch: pytest.MonkeyPatch, made: Mapping[int, Measured], memory: int = GIB
) -> Packing:
    monkeypatch.setattr(packing, "_together", lambda trials, *_: made[trials])
    monkeypatch.setattr(packing, "device_memory", lambda _: memory)
    return packing.measure_packing(small(), device=CPU, cache=Path(), threads=3)


def speeds(**by_count: float) -> dict[int, Measured]:
    return {int(name[1:]): Measured(int(name[1:]), speed, 1000) for name, speed in by_count.items()}


def test_it_goes_up_while_that_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured_with(monkeypatch, speeds(n1=100, n2=190, n4=300, n8=400))
    assert [m.trials for m in found.measured] == [1, 2, 4, 8]
    found = measured_with(monkeypatch, speeds(n1=100, n2=190, n4=191))
    assert [m.trials for m in found.measured] == [1, 2, 4]
    assert found.choice.trials == 2
    assert (found.device, found.memory, found.threads, found.trial) == ("cpu", GIB, 3, spec_hash(small()))


def test_running_out_of_memory_is_a_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {**speeds(n1=100), 2: Measured(2, 0, 0, "out of memory: CUDA")}
    found = measured_with(monkeypatch, made)
    assert found.choice.gpus == 1
    assert "2: out of memory: CUDA" in found.choice.reason


def test_what_cannot_fit_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {1: Measured(1, 100, 300 * 10**6), 2: Measured(2, 180, 290 * 10**6)}
    found = measured_with(monkeypatch, made, memory=10**9)
    # The first alone fitted probes, so what it held counts for the others.
    assert [m.memory for m in found.measured] == [300 * 10**6, 300 * 10**6, 0]
    assert found.measured[2].failure == "not tried: 1.2 GB needed of 1 GB"
    assert found.choice.trials == 2


def test_an_untrained_trial_has_no_speed() -> None:
    still = small(optim={"kind": "sgd", "epochs": 0, "batch": 64})
    with pytest.raises(PackingError, match="nothing is trained"):
        packing.measure_packing(still, device=CPU, cache=Path(), threads=1)


# --- real processes --------------------------------------------------------------------------------------


def test_copies_train_at_once_in_processes_of_their_own(cache: Path) -> None:
    found = packing.measure_packing(small(), device=CPU, cache=cache, threads=1, counts=(1, 2), seconds=0.2)
    assert [m.trials for m in found.measured] == [1, 2]
    assert [m.failure for m in found.measured] == ["", ""]
    for m in found.measured:
        assert m.views_per_second > 0
        assert 50 * 2**20 < m.memory < found.memory  # at least the interpreter and torch
    assert found.choice.trials in (1, 2)


def test_the_one_alone_holds_the_images_of_two_seeds_as_a_slot_does(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    monkeypatch.setattr(dataset, "_kept", {})
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(packing, "fit_probes", lambda *_: held.extend(key[3] for key in dataset._kept))
    monkeypatch.setattr(packing, "validation_metrics", lambda *_: None)

    class Pipe:
        def send(self, word: Any) -> None:
            assert not isinstance(word, str), word

        def recv(self) -> None: ...

        def poll(self) -> bool:
            return True

    make = partial(TrialRun, cache=cache, device=CPU, threads=1)
    for trials, seeds in ((1, [0, 1]), (2, [])):
        held.clear()
        packing._copy(Pipe(), small(), CPU, make, 0.0, trials)
        assert held == seeds


def test_a_trial_that_cannot_train_alone_says_why(cache: Path) -> None:
    wide = small(optim={"kind": "sgd", "lr": 0.2, "epochs": 2, "batch": 1000})
    with pytest.raises(PackingError, match=r"optim\.batch \(1000\) exceeds"):
        packing.measure_packing(wide, device=CPU, cache=cache, threads=1, counts=(1,), seconds=0.2)


def dies(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_copy_that_is_killed_is_a_failure_and_hangs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_copy", dies)
    found = packing._together(2, small(), CPU, TrialRun, 0.1)
    assert found == Measured(2, 0.0, 0, "a process was killed, as the kernel does when main memory runs out")


# --- which trial -----------------------------------------------------------------------------------------


def test_the_heaviest_trial_of_a_space_is_one_of_its_points() -> None:
    space = {
        "encoder.kind": {"choice": ["resnet18", "tiny-resnet", "resnet50", "pixels"]},
        "encoder.stem": {"choice": ["imagenet", "cifar"], "when": {"encoder.kind": ["resnet18", "resnet50"]}},
        "optim.batch": {"choice": [128, 512]},
        "views.size": {"int": [16, 31], "step": 4},
        "head.kind": {"choice": ["mlp", "directclr"]},
        "head.hidden": {"int": [8, 100], "log": True, "when": {"head.kind": "mlp"}},
        "head.subvector": {"int": [4, 64], "when": {"head.kind": "directclr"}},
        "optim.lr": {"float": [0.01, 1.0]},
        "loss.temperature": {"choice": [0.1, 0.3]},
    }
    made = sweep(space=space)
    spec, what = heaviest(made)
    assert (spec.encoder.kind, spec.optim.batch, spec.views.size) == ("resnet50", 512, 28)
    assert spec.encoder.stem == "cifar"  # its first layers are four times as wide and high
    assert (spec.head.kind, spec.head.hidden) == ("mlp", 100)
    assert spec.optim.lr == made.base.optim.lr
    assert spec.loss.temperature == 0.1
    assert what == (
        "the base trial with encoder.kind=resnet50, encoder.stem=cifar, optim.batch=512, views.size=28, "
        "head.hidden=100, loss.temperature=0.1"
    )


def test_of_a_space_without_sizes_it_is_the_base() -> None:
    made = sweep()
    assert heaviest(made) == (made.base, "the base trial")


def test_greatest_values_that_exclude_each_other_leave_the_base_and_are_told() -> None:
    space = {"head.kind": {"choice": ["directclr"]}, "head.subvector": {"int": [4, 4096]}}
    made = sweep(space=space)
    spec, what = heaviest(made)
    assert spec == made.base
    assert what.startswith("the base trial, since the greatest of the space is impossible: ")
    assert "subvector" in what


@pytest.mark.parametrize(("changes", "key"), [
    ({"optim.batch": 512}, "optim.batch"), ({"head.hidden": 4096}, "head.hidden"),
    ({"method": {"kind": "moco-v2"}}, "method.kind"),
], ids=["batch", "head", "method"])  # fmt: skip
def test_of_arms_it_is_the_one_that_needs_most(changes: dict[str, Any], key: str) -> None:
    """Also where the encoder, whose layers are counted, is the same."""
    made = sweep(arms={"baseline": "light", "each": {"light": {}, "heavy": changes}})
    spec, what = heaviest(made)
    assert lookup(spec.as_dict(), key) == lookup(made.bases["heavy"].as_dict(), key)
    assert what.endswith("of the arm heavy")


# --- what is recorded ------------------------------------------------------------------------------------


def test_the_share_of_a_gpu_stands_beside_the_identity(cache: Path, tmp_path: Path) -> None:
    untrained = small(optim={"kind": "sgd", "epochs": 0, "batch": 64})
    found, timing = {}, {}
    for name, share in (("packed", {"gpus": 0.25}), ("alone", {})):
        run = TrialRun(untrained, cache=cache, device=CPU, **share)
        run.step()
        run.finish(tmp_path / name)
        found[name] = json.loads((tmp_path / name / "identity.json").read_text())
        timing[name] = found[name].pop("timing")
    assert (timing["packed"]["gpus"], timing["alone"]["gpus"]) == (0.25, 0.0)
    assert "(0.35 of 0.25 of cpu)" in timing["packed"]["images"]
    assert "(0.35 of cpu)" in timing["alone"]["images"]
    assert (timing["alone"]["cpu"], timing["alone"]["machines"]) == (cpu_model(), 1)
    assert cpu_model()
    assert found["packed"] == found["alone"]


@pytest.mark.parametrize(("name", "same"), [("packing", True), ("heaviest", True), ("measures", False)])
def test_how_speed_is_measured_is_no_part_of_a_trials_code(
    monkeypatch: pytest.MonkeyPatch, name: str, same: bool
) -> None:
    before, read = code_digest(), Path.read_text

    def edited(path: Path, *args: Any, **named: Any) -> str:
        return read(path, *args, **named) + ("# edited" if path.name == f"{name}.py" else "")

    monkeypatch.setattr(Path, "read_text", edited)
    identity._code_digest.cache_clear()
    try:
        assert (code_digest() == before) is same
    finally:
        identity._code_digest.cache_clear()
