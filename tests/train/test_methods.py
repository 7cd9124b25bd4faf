"""Methods in training: who gets gradients, what follows whom, and that a step can be resumed."""

import math
from typing import Any

import pytest
import torch

from ablate.model.methods import Keyed, build_method
from ablate.model.methods.method import rising
from ablate.model.methods.moco import QueueMoCo
from ablate.train import Trainer, TrainingError, World
from tests.train.synthetic import tiny_data, tiny_trial

CPU = torch.device("cpu")
QUEUE = {"kind": "moco-v2", "queue": 64, "momentum": 0.9}
METHODS: list[dict[str, Any]] = [
    {"kind": "simclr"},
    QUEUE,
    {**QUEUE, "symmetric": True},
    {"kind": "moco-v3"},
    {"kind": "byol", "momentum": 0.9},
    {"kind": "simsiam"},
    {"kind": "barlow-twins"},
    {"kind": "vicreg"},
    {"kind": "spectral"},
    {"kind": "supcon"},
    {"kind": "supervised"},
]
INNER = {"steps": 2, "lr": 2.0, "batch": "fresh", "start": "warm"}


def trainer_of(**sections: Any) -> Trainer:
    return Trainer(tiny_trial(**sections), tiny_data(), World.single(), CPU)


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def changed(before: dict[str, torch.Tensor], module: torch.nn.Module) -> set[str]:
    return {name for name, p in module.named_parameters() if not torch.equal(before[name], p)}


@pytest.mark.parametrize("method", METHODS, ids=lambda m: "-".join(map(str, m.values())))
def test_a_run_cut_after_any_epoch_goes_on_to_the_same_weights(method: dict[str, Any]) -> None:
    whole, cut = trainer_of(method=method), trainer_of(method=method)
    losses = [report.loss for report in whole.epochs()]
    next(cut.epochs())
    resumed = trainer_of(method=method)
    resumed.load_state_dict(cut.state_dict())
    assert [report.loss for report in resumed.epochs()] == losses[1:]
    ours, theirs = resumed.method.state_dict(), whole.method.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert all(math.isfinite(loss) for loss in losses)


@pytest.mark.parametrize("start", ["warm", "epoch", "batch"])
def test_inner_steps_resume_exactly(start: str) -> None:
    inner = {**INNER, "start": start}
    whole, cut = trainer_of(inner=inner), trainer_of(inner=inner)
    losses = [report.loss for report in whole.epochs()]
    next(cut.epochs())
    resumed = trainer_of(inner=inner)
    resumed.load_state_dict(cut.state_dict())
    assert [report.loss for report in resumed.epochs()] == losses[1:]


def test_the_momentum_copy_follows_by_its_momentum() -> None:
    trainer = trainer_of(method={**QUEUE, "momentum": 0.75})
    method = trainer.method
    assert isinstance(method, QueueMoCo)
    start = weights(method.copied)
    trainer.steps = 1
    next(trainer.epochs())
    for (name, old), new in zip(method.copied.named_parameters(), method.model.parameters(), strict=True):
        assert torch.allclose(old, 0.75 * start[name] + 0.25 * new, atol=1e-7), name


def test_the_queue_holds_the_latest_keys_in_turn() -> None:
    trainer = trainer_of(method=QUEUE)  # batch 32: two steps fill the 64 rows
    method = trainer.method
    assert isinstance(method, QueueMoCo)
    start = method.queue.clone()
    keys = [torch.randn(32, 8, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    for key in keys:
        method.after_step(Keyed(((key, key),), method.queue), 0.5, lambda rows: rows)
    unit = [torch.nn.functional.normalize(key, dim=1) for key in keys]
    assert torch.equal(method.queue, torch.cat([unit[2], unit[1]]))
    assert not torch.equal(start, method.queue)


def test_momentum_rises_to_one_on_a_cosine() -> None:
    assert rising(0.9, 0.0) == pytest.approx(0.9)
    assert rising(0.9, 0.5) == pytest.approx(0.95)
    assert rising(0.9, 1.0) == 1.0


def test_equal_seeds_start_from_equal_models_under_every_method() -> None:
    first = build_method(tiny_trial(), classes=4).model.state_dict()
    for method in METHODS:
        other = build_method(tiny_trial(method=method), classes=4).model.state_dict()
        assert all(torch.equal(first[key], other[key]) for key in first), method


def test_without_inner_steps_the_head_stays_as_it_was_drawn() -> None:
    trainer = trainer_of(inner={**INNER, "steps": 0})
    head, encoder = weights(trainer.model.head), weights(trainer.model.encoder)
    next(trainer.epochs())
    assert not changed(head, trainer.model.head)
    assert changed(encoder, trainer.model.encoder) == set(encoder)


def test_inner_steps_lower_the_loss_of_their_batch_without_touching_the_encoder() -> None:
    trainer = trainer_of(inner={**INNER, "batch": "same", "steps": 1})
    inner = trainer.inner
    assert inner is not None
    trainer.method.train()
    h = tuple(part.detach() for part in inner.method.encode(*trainer._views(torch.arange(32))))
    labels = trainer.data.train.labels[:32]

    def loss() -> float:
        from ablate.train.criterion import loss_share

        with torch.no_grad():
            return float(loss_share(trainer.spec.loss, inner.method.project(*h), labels, World.single()))

    encoder, before = weights(trainer.model.encoder), loss()
    for _ in range(20):
        inner.steps(h, labels, step=0, lr=0.05, sparsifier=None)  # type: ignore[arg-type]
    assert loss() < before - 0.05
    assert not changed(encoder, trainer.model.encoder)


def test_every_inner_step_in_bf16_sees_the_weights_that_the_one_before_left() -> None:
    """Within one autocast context torch would go on with the weights that it cast first."""
    optim = {"kind": "sgd", "lr": 1.0, "momentum": 0.0, "epochs": 2, "batch": 32, "warmup_epochs": 0}
    trainer = trainer_of(
        inner={**INNER, "batch": "same"}, compute={"precision": "bf16"}, head={"kind": "linear"}, optim=optim
    )
    assert trainer.inner is not None
    head, seen = trainer.model.head, []
    take = trainer.inner.optimiser.step
    trainer.inner.optimiser.step = lambda: (seen.append(head.weight.grad.clone()), take())  # type: ignore
    trainer._train_step(torch.arange(32), torch.arange(32), 0)
    first, second = seen
    assert not torch.allclose(first, second, rtol=0.01)


def test_weights_of_the_head_that_are_not_trained_stay_so_through_inner_steps() -> None:
    trainer = trainer_of(inner={**INNER, "start": "batch"})
    held, *others = trainer.model.head.parameters()
    held.requires_grad_(False)
    next(trainer.epochs())
    assert not held.requires_grad
    assert all(p.requires_grad for p in others)


def test_inner_steps_without_a_second_batch_or_an_encoder_to_train_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"inner.batch: fresh needs two batches an epoch, but 64 images"):
        trainer_of(inner=INNER, optim={"kind": "sgd", "lr": 0.1, "epochs": 2, "batch": 64})
    with pytest.raises(TrainingError, match="the encoder has no weights for the outer step; take inner out"):
        trainer_of(inner=INNER, encoder={"kind": "pixels"})


@pytest.mark.parametrize("sections", [
    {"head": {"kind": "directclr", "subvector": 1}},
    {"head": {"kind": "none"}, "encoder": {"kind": "pixels"}, "views": {"size": 56}},
], ids=["narrow", "wide"])  # fmt: skip
def test_a_predictor_takes_z_of_any_dimension(sections: dict[str, Any]) -> None:
    """Beyond what a head may be told to give, on either side."""
    trainer = trainer_of(method={"kind": "byol", "predictor": {"hidden": 2}}, **sections)
    assert math.isfinite(float(trainer._train_step(torch.arange(8), torch.arange(8), 0)))


def test_a_rotation_trains_against_a_momentum_copy_and_not_against_itself() -> None:
    def gradient(method: dict[str, Any]) -> float:
        trainer = trainer_of(method=method, head={"kind": "orthogonal"})
        trainer._train_step(torch.arange(32), torch.arange(32), 0)
        (weight,) = trainer.model.head.parameters()
        assert weight.grad is not None
        return float(weight.grad.norm())

    assert gradient({"kind": "simclr"}) < 1e-4 < 1e-2 < gradient(QUEUE)


def test_a_cold_start_forgets_the_head_of_the_last_batch() -> None:
    trainer = trainer_of(inner={**INNER, "steps": 0, "start": "batch"})
    first = weights(trainer.model.head)
    next(trainer.epochs())
    assert {n for n in changed(first, trainer.model.head) if n.endswith("weight")}


def test_views_apart_give_other_statistics_than_views_together() -> None:
    losses = [next(trainer_of(compute={"view_stats": how}).epochs()).loss for how in ("together", "apart")]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.2)
