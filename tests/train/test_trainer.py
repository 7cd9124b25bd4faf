"""The trainer: exact resume, the same numbers twice, schedules, proximal steps, and clear refusals."""

import math
from itertools import pairwise

import pytest
import torch

from ablate.model import head_weights
from ablate.spec.trial import TrialSpec
from ablate.train import Diverged, Trainer, TrainingError, World
from ablate.train.optimise import LARS, learning_rate, proximal_step_size
from tests.train.synthetic import tiny_data, tiny_trial

CPU = torch.device("cpu")
SPARSE = {"kind": "mlp", "depth": 2, "hidden": 16, "out": 8}


def trainer_of(spec: TrialSpec) -> Trainer:
    return Trainer(spec, tiny_data(), World.single(), CPU)


def same_weights(a: Trainer, b: Trainer) -> bool:
    ours, theirs = a.model.state_dict(), b.model.state_dict()
    return all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("optim", [
    {"kind": "sgd", "lr": 0.1}, {"kind": "adamw", "lr": 1e-3}, {"kind": "lars", "lr": 0.5},
])  # fmt: skip
def test_resume_is_exact_under_every_optimiser(optim: dict[str, object]) -> None:
    spec = tiny_trial(optim={**optim, "epochs": 4, "batch": 32})
    through = trainer_of(spec)
    losses = [r.loss for r in through.epochs()]
    first = trainer_of(spec)
    epochs = first.epochs()
    next(epochs), next(epochs)
    second = trainer_of(spec)
    second.load_state_dict(first.state_dict())
    assert [r.loss for r in second.epochs()] == losses[2:]
    assert same_weights(through, second)


@pytest.mark.parametrize(("parent", "child"), [
    ({"kind": "sgd", "lr": 0.1}, {"kind": "sgd", "lr": 0.2, "momentum": 0.5, "nesterov": True}),
    ({"kind": "adamw", "lr": 1e-3}, {"kind": "adamw", "lr": 1e-2, "beta1": 0.5, "beta2": 0.9}),
    ({"kind": "lars", "lr": 0.5}, {"kind": "lars", "lr": 0.9, "momentum": 0.5, "trust": 0.01}),
])  # fmt: skip
def test_a_trial_that_goes_on_from_another_keeps_its_own_settings(
    parent: dict[str, object], child: dict[str, object]
) -> None:
    parent_spec = tiny_trial(optim={**parent, "epochs": 3, "batch": 32})
    child_spec = tiny_trial(
        optim={**child, "epochs": 3, "batch": 32, "weight_decay": 0.01, "head_weight_decay": 0.02}
    )
    first, second = trainer_of(parent_spec), trainer_of(child_spec)
    next(first.epochs())
    fresh = settings(second)
    second.load_state_dict(first.state_dict())
    assert settings(second) == fresh != settings(first)
    assert same_weights(first, second)
    assert first.optimiser is not None
    assert second.optimiser is not None
    ours, theirs = first.optimiser.state_dict()["state"], second.optimiser.state_dict()["state"]
    assert ours.keys() == theirs.keys() != set()
    assert all(torch.equal(ours[p][k], theirs[p][k]) for p in ours for k in ours[p])
    next(second.epochs())
    assert second.epoch == 2


def settings(trainer: Trainer) -> list[dict[str, object]]:
    assert trainer.optimiser is not None
    groups = trainer.optimiser.param_groups
    return [{name: value for name, value in group.items() if name != "params"} for group in groups]


def test_the_same_trial_twice_is_equal_and_another_seed_is_not() -> None:
    runs = [trainer_of(tiny_trial(seed=seed)) for seed in (0, 0, 1)]
    losses = [[r.loss for r in run.epochs()] for run in runs]
    assert losses[0] == losses[1] != losses[2]
    assert same_weights(runs[0], runs[1])


def test_global_random_state_neither_matters_nor_moves() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a = [r.loss for r in trainer_of(tiny_trial()).epochs()]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert [r.loss for r in trainer_of(tiny_trial()).epochs()] == a


def test_training_lowers_the_loss() -> None:
    spec = tiny_trial(optim={"kind": "sgd", "lr": 0.1, "epochs": 8, "batch": 32})
    losses = [r.loss for r in trainer_of(spec).epochs()]
    assert losses[-1] < losses[0] - 0.1


def test_learning_rate_warms_up_then_falls_to_its_floor() -> None:
    spec = tiny_trial(optim={"kind": "sgd", "lr": 1.0, "epochs": 10, "batch": 2, "final_lr": 0.1}).optim
    rates = [learning_rate(spec, s, 10) for s in range(100)]
    assert rates.index(max(rates)) == 10
    assert max(rates) == pytest.approx(1.0)
    assert all(a < b for a, b in pairwise(rates[:11]))
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert learning_rate(spec, 100, 10) == pytest.approx(0.1)


def test_lars_steps_by_the_trust_ratio_and_leaves_biases_alone() -> None:
    weight = torch.nn.Parameter(torch.full((2, 2), 2.0))
    bias = torch.nn.Parameter(torch.ones(2))
    optimiser = LARS([{"params": [weight, bias], "weight_decay": 0.1}], lr=0.5, momentum=0.9, trust=0.01)
    weight.grad, bias.grad = torch.ones(2, 2), torch.ones(2)
    optimiser.step()
    ratio = 0.01 * 4.0 / (2.0 + 0.1 * 4.0)  # |w| = 4, |g| = 2
    assert torch.allclose(weight.data, torch.full((2, 2), 2.0 - 0.5 * ratio * (1 + 0.1 * 2.0)))
    assert torch.allclose(bias.data, torch.full((2,), 0.5))
    assert float(proximal_step_size(optimiser, weight)) == pytest.approx(0.5 * ratio)


def test_lars_on_many_weights_is_lars_on_each() -> None:
    def stepped(groups: list[list[torch.Tensor]], gradients: list[torch.Tensor]) -> list[torch.Tensor]:
        weights = [[torch.nn.Parameter(w.clone()) for w in group] for group in groups]
        settings = [{"params": group, "weight_decay": 0.1} for group in weights]
        optimiser = LARS(settings, lr=0.5, momentum=0.9, trust=0.01)
        flat = [w for group in weights for w in group]
        for _ in range(3):
            for w, gradient in zip(flat, gradients, strict=True):
                w.grad = gradient.clone()
            optimiser.step()
        return [w.detach() for w in flat]

    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (5,), (2, 3, 3, 3), (), (4, 1), (3, 4)]
    weights, gradients = ([torch.randn(s, generator=generator) for s in shapes] for _ in range(2))
    weights[4].zero_()  # no direction: its ratio is 1
    gradients[5].zero_()
    together = stepped([weights[:4], weights[4:]], gradients)
    apart = stepped([[w] for w in weights], gradients)
    assert all(torch.equal(a, b) for a, b in zip(together, apart, strict=True))
    assert all(a.isfinite().all() for a in together)
    assert not torch.equal(together[4], weights[4])


@pytest.mark.parametrize("penalty", ["l1", "l21"])
def test_proximal_strength_makes_exact_zeros_and_none_makes_none(penalty: str) -> None:
    def zeros(shrink: float) -> float:
        spec = tiny_trial(head={**SPARSE, "sparsity": {"penalty": penalty, "shrink": shrink}})
        trainer = trainer_of(spec)
        list(trainer.epochs())
        weights = torch.cat([w.detach().flatten() for w in head_weights(trainer.model.head)])
        return float((weights == 0).double().mean())

    assert zeros(0.0) == 0.0 < zeros(2.0) < zeros(50.0) == 1.0


def test_shrink_is_the_total_shrinkage_in_median_weights() -> None:
    spec = tiny_trial(head={**SPARSE, "sparsity": {"penalty": "l1", "shrink": 2.0}})
    trainer = trainer_of(spec)
    assert trainer.sparsifier is not None
    start = torch.cat([w.detach().abs().flatten() for w in head_weights(trainer.model.head)])
    total = sum(learning_rate(spec.optim, s, trainer.steps) for s in range(3 * trainer.steps))
    assert trainer.sparsifier.strength * total == pytest.approx(2.0 * float(start.quantile(0.5)), rel=1e-5)


def test_mean_reduction_means_the_same_at_any_width() -> None:
    def strength(reduction: str) -> float:
        head = {**SPARSE, "sparsity": {"penalty": "l1", "weight": 1.0, "reduction": reduction}}
        sparsifier = trainer_of(tiny_trial(head=head)).sparsifier
        assert sparsifier is not None
        return sparsifier.strength

    entries = sum(w.numel() for w in head_weights(trainer_of(tiny_trial(head=SPARSE)).model.head))
    assert strength("mean") == pytest.approx(strength("sum") / entries)


@pytest.mark.parametrize("penalty", [{"penalty": "hoyer"}, {"penalty": "l1", "scale_free": True}])
def test_gradient_penalties_raise_hoyer_sparsity(penalty: dict[str, object]) -> None:
    def l1_over_l2(weight: float) -> float:
        head = {**SPARSE, "sparsity": {**penalty, "step": "gradient", "weight": weight}}
        trainer = trainer_of(tiny_trial(head=head))
        list(trainer.epochs())
        return sum(
            float(w.detach().abs().sum() / w.detach().norm()) for w in head_weights(trainer.model.head)
        )

    assert l1_over_l2(0.1) < l1_over_l2(0.0)


def test_too_large_a_batch_is_refused_by_name() -> None:
    with pytest.raises(TrainingError, match=r"optim.batch \(128\) exceeds the 64 training images"):
        trainer_of(tiny_trial(optim={"kind": "sgd", "epochs": 2, "batch": 128}))


def test_training_without_weights_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"set optim.epochs to 0"):
        trainer_of(tiny_trial(encoder={"kind": "pixels"}, head={"kind": "none"}))


def test_divergence_is_raised_not_reported() -> None:
    spec = tiny_trial(optim={"kind": "sgd", "lr": 1e30, "epochs": 3, "batch": 32, "warmup_epochs": 0})
    with pytest.raises(Diverged, match="epoch"):
        list(trainer_of(spec).epochs())


def test_an_untrained_trial_has_no_epochs() -> None:
    trainer = trainer_of(tiny_trial(optim={"kind": "sgd", "epochs": 0}))
    assert list(trainer.epochs()) == []
    assert all(math.isfinite(float(p.detach().sum())) for p in trainer.model.parameters())
