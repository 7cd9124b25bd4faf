"""What a file may say of a head, and what a user is told who says it wrong."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ablate.spec.trial import TrialSpec


def trial(head: dict[str, Any], **sections: Any) -> TrialSpec:
    """h has 8 features."""
    return TrialSpec.model_validate(
        {
            "data": {"kind": "digits"},
            "encoder": {"kind": "tiny-resnet", "width": 4, "blocks": [1, 1]},
            "head": head,
            "optim": {"kind": "sgd"},
            **sections,
        }
    )


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"kind": "random-subvector", "subvector": 9}, "head.subvector: 9 exceeds the encoder's width (8)"),
        ({"kind": "directclr", "subvector": 9}, "head.subvector: 9 exceeds the encoder's width (8)"),
        ({"kind": "low-rank", "rank": 9}, "head.rank: 9 exceeds the encoder's width (8)"),
        ({"kind": "reweighting", "kappa": 0.9}, "greater than or equal to 1"),
        ({"kind": "orthogonal", "sparsity": {"penalty": "l1", "weight": 1.0}}, "Extra inputs"),
        ({"kind": "frozen", "path": "runs/x"}, "digest"),
        ({"kind": "frozen", "path": "runs/x", "digest": "abc"}, "pattern"),
        (
            {"kind": "identity-mlp", "sparsity": {"penalty": "l1", "shrink": 1.0}},
            "the median entry at the start, which is 0 in an identity; use weight, or penalty: l21",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(head: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        trial(head)
    assert message in str(error.value)


@pytest.mark.parametrize("start", ["epoch", "batch"])
def test_shrink_of_a_head_that_does_not_live_through_the_run_is_refused(start: str) -> None:
    inner = {"steps": 1, "batch": "same", "start": start}
    with pytest.raises(ValidationError, match=f"drawn anew each {start} .inner.start.; use weight"):
        trial({"kind": "linear", "sparsity": {"penalty": "l21", "shrink": 1.0}}, inner=inner)
    trial({"kind": "linear", "sparsity": {"penalty": "l21", "weight": 1.0}}, inner=inner)
    trial({"kind": "linear", "sparsity": {"penalty": "l21", "shrink": 1.0}}, inner=inner | {"start": "warm"})


@pytest.mark.parametrize(
    "head",
    [
        {"kind": "low-rank", "rank": 8},
        {"kind": "diagonal", "sparsity": {"penalty": "l1", "shrink": 1.0}},
        {"kind": "identity-mlp", "depth": 3, "sparsity": {"penalty": "l21", "shrink": 1.0}},
        {"kind": "frozen", "path": "runs/x", "digest": "0123456789abcdef"},
    ],
    ids=lambda head: head["kind"],
)
def test_a_spec_survives_being_written_and_read(head: dict[str, Any]) -> None:
    spec = trial(head)
    assert TrialSpec.model_validate(spec.as_dict()) == spec


@pytest.mark.parametrize(
    ("method", "diagnosis", "message"),
    [
        ("vicreg", "generalisation", "generalisation is of loss info-nce, not of vicreg"),
        ("byol", "subset", "subset needs a loss of two views' z, which alignment is not"),
        ("moco-v3", "inner", "inner needs one loss that encoder and head share, which moco-v3 has not"),
    ],
)
def test_a_diagnosis_that_the_trial_has_no_meaning_for_is_refused(
    method: str, diagnosis: str, message: str
) -> None:
    head, measure = {"kind": "linear"}, {"diagnose": [diagnosis]}
    with pytest.raises(ValidationError) as error:
        trial(head, method={"kind": method}, measure=measure)
    assert message in str(error.value)
    assert trial(head, measure=measure).measure.diagnose == (diagnosis,)
