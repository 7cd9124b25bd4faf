"""A head taken over from a finished trial: the same function, never trained, and only the one meant."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ablate.model import build_head, build_model
from ablate.spec.head import FrozenHead
from ablate.spec.trial import TrialSpec

WIDTH = 8


def finished(folder: Path, head: dict[str, Any] | None = None) -> tuple[nn.Module, FrozenHead]:
    """A trial's folder, its head (with batch norms that have seen data), and the spec that takes it over."""
    spec = TrialSpec.model_validate(
        {
            "data": {"kind": "digits"},
            "encoder": {"kind": "tiny-resnet", "width": 4, "blocks": [1, 1]},
            "head": head or {"kind": "mlp", "hidden": 10, "out": 6},
            "optim": {"kind": "sgd"},
        }
    )
    model = build_model(spec).train()
    model(torch.randn(32, 3, 16, 16))
    folder.mkdir()
    (folder / "spec.json").write_text(json.dumps(spec.as_dict()))
    torch.save(model.head.state_dict(), folder / "head.pt")
    digest = hashlib.sha256((folder / "head.pt").read_bytes()).hexdigest()[:16]
    return model.head, FrozenHead(path=str(folder), digest=digest)


def test_it_is_the_trained_head_in_eval_mode_whatever_mode_the_model_is_in(tmp_path: Path) -> None:
    trained, spec = finished(tmp_path / "trial")
    head = build_head(spec, WIDTH).train()
    h = torch.randn(16, WIDTH) + 3
    first = head(h)
    torch.testing.assert_close(first, trained.eval()(h))
    assert torch.equal(head(h), first)  # no running statistics moved


def test_it_passes_gradient_on_to_h_and_takes_none(tmp_path: Path) -> None:
    _, spec = finished(tmp_path / "trial")
    head = build_head(spec, WIDTH).train()
    h = torch.randn(4, WIDTH, requires_grad=True)
    head(h).square().sum().backward()
    assert h.grad is not None
    assert (h.grad != 0).any()
    assert list(head.parameters())
    assert all(not p.requires_grad and p.grad is None for p in head.parameters())


def test_a_frozen_head_can_be_taken_over_again(tmp_path: Path) -> None:
    trained, spec = finished(tmp_path / "first")
    _, again = finished(tmp_path / "second", spec.as_dict())
    h = torch.randn(4, WIDTH)
    torch.testing.assert_close(build_head(again, WIDTH)(h), trained.eval()(h))


def test_another_digest_is_refused_with_the_right_one(tmp_path: Path) -> None:
    _, spec = finished(tmp_path / "trial")
    with pytest.raises(ValueError, match=f"head.digest: .*head.pt has digest {spec.digest}, not 0000"):
        build_head(FrozenHead(path=spec.path, digest="0" * 16), WIDTH)


def test_another_width_is_refused(tmp_path: Path) -> None:
    _, spec = finished(tmp_path / "trial")
    with pytest.raises(ValueError, match="takes h of width 8, this encoder gives 16"):
        build_head(spec, 16)


@pytest.mark.parametrize("missing", ["spec.json", "head.pt"])
def test_a_folder_without_its_files_is_refused(tmp_path: Path, missing: str) -> None:
    _, spec = finished(tmp_path / "trial")
    (tmp_path / "trial" / missing).unlink()
    with pytest.raises(ValueError, match=rf"head.path: .*{missing} cannot be read .* of a finished trial"):
        build_head(spec, WIDTH)


def test_weights_of_another_head_are_refused(tmp_path: Path) -> None:
    _, spec = finished(tmp_path / "trial")
    other, _ = finished(tmp_path / "other", {"kind": "linear", "out": 6})
    torch.save(other.state_dict(), tmp_path / "trial" / "head.pt")
    digest = hashlib.sha256((tmp_path / "trial" / "head.pt").read_bytes()).hexdigest()[:16]
    with pytest.raises(ValueError, match=r"head.path: .*head.pt is not a mlp head"):
        build_head(FrozenHead(path=spec.path, digest=digest), WIDTH)


def test_a_spec_of_nothing_known_is_refused(tmp_path: Path) -> None:
    _, spec = finished(tmp_path / "trial")
    (tmp_path / "trial" / "spec.json").write_text('{"head": {"kind": "future"}}')
    with pytest.raises(ValueError, match=r"head.path: .*spec.json is not a trial that this version can read"):
        build_head(spec, WIDTH)
