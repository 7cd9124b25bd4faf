"""What ``spec.compute`` does to the networks: other memory, other speed, the same training."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from ablate.train import Trainer, TrainingError, World
from tests.train.synthetic import tiny_data, tiny_trial

CPU = torch.device("cpu")
ROWS = torch.arange(32)


def trainer_of(world: World | None = None, **sections: Any) -> Trainer:
    return Trainer(tiny_trial(**sections), tiny_data(), world or World.single(), CPU)


def step(trainer: Trainer) -> tuple[float, dict[str, Tensor]]:
    loss = trainer._train_step(ROWS, ROWS, 0)
    return float(loss), {name: p.grad for name, p in trainer.method.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("sections", [
    {}, {"method": {"kind": "byol"}}, {"compute": {"precision": "bf16"}}, {"compute": {"microbatch": 8}},
], ids=["simclr", "byol", "bf16", "microbatch"])  # fmt: skip
def test_activations_computed_again_change_no_bit_of_training(sections: dict[str, Any]) -> None:
    plain = trainer_of(**sections)
    compute = sections.get("compute", {}) | {"checkpoint_activations": True}
    again = trainer_of(**sections | {"compute": compute})
    assert [r.loss for r in again.epochs()] == [r.loss for r in plain.epochs()]
    ours, theirs = again.method.state_dict(), plain.method.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)  # running statistics too


def test_an_encoder_without_stages_cannot_compute_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match=r"compute.checkpoint_activations: pixels has no activations"):
        tiny_trial(encoder={"kind": "pixels"}, compute={"checkpoint_activations": True})
    words = "compute.checkpoint_activations: TinyResNetEncoder has no stages .*; set it to false"
    monkeypatch.setattr("ablate.model.encoders.tiny_resnet._stages", lambda *_: [torch.nn.Identity()])
    with pytest.raises(TrainingError, match=words):
        trainer_of(compute={"checkpoint_activations": True})


TINY = {"encoder": {"kind": "tiny-resnet", "width": 4, "blocks": [1]}, "head": {"kind": "none"}}


def compiled_and_eager(**sections: Any) -> tuple[Trainer, Trainer]:
    """After a step each, found to be the same step."""
    compute = sections.pop("compute", {})
    compiled = trainer_of(**TINY | sections, compute=compute | {"compile": True})
    eager = trainer_of(**TINY | sections, compute=compute)
    (found_loss, found), (loss, expected) = step(compiled), step(eager)
    assert found_loss == pytest.approx(loss, rel=1e-5)
    scale = max(float(g.abs().max()) for g in expected.values())
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert float((found[name] - gradient).abs().max()) < 1e-4 * scale, name
    ours, theirs = compiled.method.state_dict(), eager.method.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.allclose(ours[key], theirs[key], atol=1e-4) for key in theirs)
    return compiled, eager


def test_compiled_networks_have_the_gradients_of_eager_ones() -> None:
    """The only test that waits for a C++ compiler: half a minute."""
    compiled_and_eager()


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Compiling is tracing alone; the graphs that run, by what they begin with."""
    seen: list[str] = []
    compile_ = torch.compile

    def backend(graph: torch.fx.GraphModule, _inputs: Any) -> Any:
        seen.append(str(graph.graph))
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda f, **_: compile_(f, backend=backend, dynamic=False))
    return seen


@pytest.mark.parametrize("sections", [
    {"method": {"kind": "moco-v2", "queue": 64}},
    {"method": {"kind": "byol"}},
    {"method": {"kind": "supervised"}},
    {"head": {"kind": "random-subvector", "subvector": 2}, "compute": {"view_stats": "apart"}},
    {"compute": {"microbatch": 16}},
    {"compute": {"precision": "bf16"}},
], ids=["moco-v2", "byol", "supervised", "drawn", "microbatch", "bf16"])  # fmt: skip
def test_every_method_is_one_graph_that_stays_while_it_trains(
    sections: dict[str, Any], traced: list[str]
) -> None:
    compiled, eager = compiled_and_eager(**sections)
    graphs = len(traced)
    passes = 2 if "microbatch" in sections.get("compute", {}) else 1  # with and without gradient
    assert graphs == passes
    assert [r.loss for r in compiled.epochs()] == pytest.approx([r.loss for r in eager.epochs()], rel=1e-3)
    assert len(traced) == graphs


def test_measures_see_networks_that_are_not_compiled(traced: list[str]) -> None:
    compiled, _ = compiled_and_eager()
    traced.clear()
    compiled.model.eval()
    with torch.inference_mode():
        compiled.model(torch.zeros(3, 3, 16, 16))
    assert not traced


def test_what_cannot_be_compiled_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match=r"compute.compile: does not reach the head's own steps"):
        tiny_trial(compute={"compile": True}, inner={"steps": 1, "batch": "same"})
    with pytest.raises(ValidationError, match=r"leave out compute.checkpoint_activations"):
        tiny_trial(compute={"compile": True, "checkpoint_activations": True})
    with pytest.raises(TrainingError, match=r"compute.compile: .* compute.batch_stats to local"):
        trainer_of(World(0, 2), compute={"compile": True})
