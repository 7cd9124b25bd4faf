"""A sweep or trial file becomes a value, or a list of every mistake at its line and column."""

import json
import pickle
from pathlib import Path

import pytest

from ablate.spec import SpecError, load_sweep, load_trial, spec_hash
from ablate.spec.yaml_file import dump_yaml
from tests.spec.files import GOOD, load, mistakes, write

FIVE_MISTAKES = """\
name: five
question: How are mistakes reported?
base:
  data: {kind: scattered-digits}
  head:
    kind: mlp
    depht: 2
  optim: {kind: sgdd, lr: 0.1}
space:
  head.hiden: {int: [8, 64]}
  loss.temperature: {float: [0, 1], log: true}
search: {trials: many}
"""


def test_five_mistakes_are_reported_together_each_at_its_place(tmp_path: Path) -> None:
    found = mistakes(tmp_path, FIVE_MISTAKES)
    assert [line.split(": ")[0:2] for line in found] == [
        ["7:5", "base.head.depht"],
        ["8:17", "base.optim.kind"],
        ["10:3", "space.head.hiden"],
        ["11:42", "space.loss.temperature.log"],
        ["12:18", "search.trials"],
    ]
    for line, words in zip(
        found,
        [
            "did you mean 'depth'?",
            "did you mean 'sgd'?",
            "did you mean 'head.hidden'?",
            "found 0.0",
            "'many'",
        ],
        strict=True,
    ):
        assert words in line
    assert "(allowed: sgd, lars, adamw)" in found[1]


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("depth: 2}\n  optim", "depth: 2.5}\n  optim", "5:28", "found 2.5, expected a whole number"),
        ("depth: 2}\n  optim", "depth: 9}\n  optim", "5:28", "must be at least 1 and at most 8"),
        ("kind: scattered-digits", "knd: digits", "4:3", "missing key 'kind' (allowed: digits, "),
        ("{kind: scattered-digits}", "digits", "4:9", "found 'digits', expected a mapping"),
        ("question: Does the head matter?\n", "", "1:1", "missing key 'question' (what the sweep is"),
        (
            "{kind: mlp, depth: 2}\n  optim",
            "{kind: linear, depth: 2}\n  optim",
            "5:24",
            "not a key of kind linear",
        ),
        ("lr: 1e-1", "lr: .inf", "6:26", "finite"),
        ("lr: 1e-1", "lr: 1e-1, warmup_epochs: 9", "6:47", "9 must be below epochs (8)"),
        ("base:\n", "base:\n  views: {preset: photo}\n", "4:19", "unknown preset 'photo'"),
        ("base:\n", "base:\n  views: {flip: 2}\n", "4:17", "at least 0 and at most 1"),
        ("base:\n", "base:\n  lr: 3\n", "4:3", "did you mean 'optim.lr'?"),
        ("kind: asha", "kind: ash", "16:21", "did you mean 'asha'?"),
        ("trials: 24\n", "trials: 24\n  objective: {metric: probe.h.vl}\n", "16:23", "mean 'probe.h.val'?"),
        (
            "trials: 24\n",
            "trials: 24\n  objective: {metric: probe.h.test}\n",
            "16:23",
            "read once, at the end",
        ),
        ("[2, 4]}", "[4, 2]}", "16:34", "must increase"),
        ("[2, 4]}", "[2, 8]}", "16:34", "must be below base.optim.epochs (8)"),
        ("base:\n", "base:\n  measure: {every: 4}\n", "17:34", "epochs that base.measure.every (4) or"),
        ("confirm:\n", "resources: {workers: 3}\nconfirm:\n", "17:22", "must divide by the 3 workers"),
        ("base:\n", "base:\n  seed: 1003\n", "18:1", "seeds must be fresh"),
        ("plain:", "pixels:", "19:5", "are taken"),
        ("space:\n", "space:\n  seed: {int: [0, 9]}\n", "8:3", "a seed is not searched"),
        ("plain: {head:", "plain: {hed:", "19:13", "did you mean 'head'?"),
        (
            "    plain: {head: {kind: mlp,",
            "    plain: {head: {kind: none,",
            "19:32",
            "not a key of kind none",
        ),
    ],
)
def test_a_mistake_is_placed_and_explained(
    tmp_path: Path, old: str, new: str, place: str, words: str
) -> None:
    assert GOOD.count(old) == 1
    found = mistakes(tmp_path, GOOD.replace(old, new))
    assert any(line.startswith(f"{place}: ") and words in line for line in found), found


def test_a_mistake_in_one_part_hides_none_in_another(tmp_path: Path) -> None:
    text = GOOD.replace("kind: mlp, depth: 2}\n  optim", "kind: mpl}\n  optim").replace("[2, 4]}", "[2, 8]}")
    text = text.replace("head.depth: {int: [1, 3]", "head.depth: {int: [1, 30]")
    assert [line.split(": ")[0] for line in mistakes(tmp_path, text)] == ["5:16", "9:25", "16:34"]


def test_a_good_file_is_a_frozen_value_with_every_default_written_out(tmp_path: Path) -> None:
    sweep = load(tmp_path)
    assert sweep.base.optim.lr == 0.1
    assert sweep.base.views.size == 24  # of the preset of the source
    assert hash(sweep.base) == hash(load(tmp_path).base)
    with pytest.raises(ValueError, match="frozen"):
        sweep.base.optim.lr = 3  # type: ignore[misc]


def test_a_resolved_sweep_reads_back_equal_from_yaml_and_from_json(tmp_path: Path) -> None:
    sweep = load(tmp_path)
    for text in (dump_yaml(sweep.as_dict()), json.dumps(sweep.as_dict())):
        again = load(tmp_path, text)
        assert again == sweep
        assert spec_hash(again) == spec_hash(sweep)


def test_a_trial_reads_from_yaml_and_from_its_spec_json(tmp_path: Path) -> None:
    text = "data: {kind: digits}\nhead: {kind: none}\noptim: {kind: adamw, lr: 1e-3}\nviews: {flip: 0.25}\n"
    trial = load_trial(write(tmp_path, text))
    assert (trial.views.size, trial.views.flip) == (16, 0.25)  # the preset of digits, one constant replaced
    assert load_trial(write(tmp_path, json.dumps(trial.as_dict()), "spec.json"), ["seed=3"]).seed == 3


def test_a_trial_is_not_taken_for_a_sweep_nor_a_sweep_for_a_trial(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="`ablate sweep`"):
        load_trial(write(tmp_path, GOOD))
    with pytest.raises(SpecError, match="this is a trial"):
        load_sweep(write(tmp_path, "data: {kind: digits}\nhead: {kind: none}\noptim: {kind: sgd}\n"))


@pytest.mark.parametrize(
    ("text", "words"), [("", "is empty"), ("# nothing\n", "is empty"), ("- 1\n", "a mapping")]
)
def test_a_file_without_keys_says_so(tmp_path: Path, text: str, words: str) -> None:
    (line,) = mistakes(tmp_path, text)
    assert words in line


def test_the_error_survives_pickling(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, FIVE_MISTAKES)
    assert pickle.loads(pickle.dumps(caught.value)).mistakes == caught.value.mistakes
