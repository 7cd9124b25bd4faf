"""A run may be cut between any two steps, and goes on as if it had not been, bit for bit."""

import io
import math
from typing import Any

import pytest
import torch

from ablate.train import Diverged, Trainer, TrainReport, World, trainer
from tests.train.synthetic import tiny_data, tiny_trial

BATCH, STEPS, EPOCHS = 16, 4, 2
DATA = tiny_data(count=BATCH * STEPS + 6)  # the last six are left out of every epoch
INNER = {"steps": 2, "lr": 2.0, "batch": "fresh"}
MLP = {"kind": "mlp", "depth": 2, "hidden": 16, "out": 8}
CASES: dict[str, dict[str, Any]] = {
    "simclr": {},
    "adamw": {"optim": {"kind": "adamw", "lr": 1e-3}},
    "lars": {"optim": {"kind": "lars", "lr": 0.5}},
    "moco-v2": {"method": {"kind": "moco-v2", "queue": 64, "momentum": 0.9}},
    "byol": {"method": {"kind": "byol", "momentum": 0.9}},
    "inner warm": {"inner": {**INNER, "start": "warm"}},
    "inner epoch": {"inner": {**INNER, "start": "epoch"}},
    "inner batch": {"inner": {**INNER, "start": "batch"}},
    "drawn head": {"head": {"kind": "random-subvector", "subvector": 4}},
    "sparse head": {"head": {**MLP, "sparsity": {"penalty": "l21", "shrink": 1.0}}},
    "microbatch": {"compute": {"microbatch": 8}},
    "bf16": {"compute": {"precision": "bf16"}},
}


def trainer_of(optim: dict[str, Any] | None = None, **sections: Any) -> Trainer:
    optim = {"kind": "sgd", "lr": 0.1, "epochs": EPOCHS, "batch": BATCH} | (optim or {})
    return Trainer(tiny_trial(optim=optim, **sections), DATA, World.single(), torch.device("cpu"))


def written(state: dict[str, Any]) -> dict[str, Any]:
    """As a checkpoint gives it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    read: dict[str, Any] = torch.load(file, weights_only=True)
    return read


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


@pytest.mark.parametrize("sections", CASES.values(), ids=CASES.keys())
def test_a_run_cut_after_every_step_ends_as_the_whole_one(sections: dict[str, Any]) -> None:
    whole = trainer_of(**sections)
    losses = [report.loss for report in whole.epochs()]
    state, found = trainer_of(**sections).state_dict(), []
    for step in range(1, EPOCHS * STEPS + 1):
        cut = trainer_of(**sections)
        cut.load_state_dict(written(state))
        report = cut.advance(lambda: True)
        assert cut.progress == 1
        assert (cut.epoch, cut.step) == divmod(step, STEPS)
        assert (report is None) == (cut.step > 0)
        found += [report.loss] if report else []
        state = cut.state_dict()
    assert found == losses
    assert all(map(math.isfinite, losses))
    assert equal(state, whole.state_dict())


def test_a_pause_is_offered_within_the_epoch_and_the_same_trainer_can_go_on() -> None:
    whole, paused = trainer_of(), trainer_of()
    asked: list[int] = []

    def third() -> bool:
        asked.append(paused.step)
        return paused.step == 3

    assert paused.advance(third) is None
    assert asked == [1, 2, 3]
    report = paused.advance(third)
    assert report is not None
    assert asked == [1, 2, 3]  # not after the last step, when there is nothing left to put off
    assert report.loss == next(whole.epochs()).loss
    assert equal(paused.state_dict(), whole.state_dict())


def test_what_was_cut_diverges_where_the_whole_run_does() -> None:
    optim = {"lr": 1e30, "warmup_epochs": 0}
    first = trainer_of(optim=optim)
    assert first.advance(lambda: first.step == 3) is None
    second = trainer_of(optim=optim)
    second.load_state_dict(written(first.state_dict()))
    with pytest.raises(Diverged, match="in epoch 1"):
        list(second.epochs())


class Clock:
    """Time that passes at will."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_the_speed_is_that_of_the_steps_a_trainer_took_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(trainer, "time", clock)

    def advance(trained: Trainer, until: int) -> TrainReport | None:
        """Two seconds a step."""
        take = trained._train_step

        def slow(*args: Any) -> torch.Tensor:
            clock.now += 2
            return take(*args)

        trained._train_step = slow  # type: ignore[method-assign]
        report = trained.advance(lambda: trained.step == until)
        trained._train_step = take  # type: ignore[method-assign]
        return report

    first = trainer_of()
    assert advance(first, 3) is None
    second = trainer_of()
    second.load_state_dict(written(first.state_dict()))
    clock.now += 1000
    for run in (first, second):
        report = advance(run, STEPS)
        assert report is not None
        assert report.views_per_second == 2 * BATCH / 2
