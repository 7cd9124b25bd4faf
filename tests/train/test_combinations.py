"""Every valid combination of method, head, margin, penalty and inner loop trains; others are refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from ablate.spec.combinations import Section, all_trials, methods, refusal, tables
from ablate.spec.trial import TrialSpec
from ablate.train import Trainer, World
from tests.model.finished_head import finished_head
from tests.train.synthetic import tiny_data

DOCS = Path(__file__).parents[2] / "docs" / "combinations.md"
DATA = tiny_data(count=16)


def valid(method: str) -> Iterator[tuple[tuple[str, ...], Section]]:
    for names, sections in all_trials():
        if names[0] == method and refusal(sections) is None:
            yield names, sections


def unmoved(before: dict[str, torch.Tensor], module: nn.Module) -> set[str]:
    return {name for name, p in module.named_parameters() if torch.equal(before[name], p)}


@pytest.mark.parametrize("method", methods())
def test_every_valid_combination_trains_what_it_should_and_nothing_else(method: str, tmp_path: Path) -> None:
    frozen = finished_head(tmp_path, width=8)
    count = 0
    for names, sections in valid(method):
        if names[1] == "frozen":
            sections = sections | {"head": frozen}
        trainer = Trainer(TrialSpec.model_validate(sections), DATA, World.single(), torch.device("cpu"))
        before = {name: p.detach().clone() for name, p in trainer.method.named_parameters()}
        report = next(trainer.epochs())
        assert torch.isfinite(torch.tensor(report.loss)), names
        still = unmoved(before, trainer.method)
        held = {n for n, p in trainer.method.named_parameters() if not p.requires_grad}
        copied = {n for n in held if n.startswith("copied.")}  # follows the model, without a gradient
        expected = held - copied
        if names[1] == "orthogonal":  # a rotation changes no cosine: losses of cosines leave it alone
            still = {n for n in still if "head" not in n}
        if method in ("byol", "moco-v3", "simsiam"):  # a batch norm cancels shifts of z, but for rounding
            shifts = {n for n in still if n.startswith("model.head") and n.endswith((".bias", ".b"))}
            still -= shifts - held
        assert still - copied == expected, names
        count += 1
    assert count >= 20


def test_the_documented_tables_are_those_of_the_specs() -> None:
    assert tables() in DOCS.read_text(), "write docs/combinations.md anew: ablate combinations"


def test_what_is_refused_says_which_key_and_why() -> None:
    reasons = {why for _, sections in all_trials() if (why := refusal(sections))}
    assert reasons
    assert all(why.startswith(("loss.margin", "head.", "inner")) and len(why) > 30 for why in reasons)
