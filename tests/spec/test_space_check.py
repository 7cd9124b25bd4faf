"""Whether a space fits its base: keys, values, conditions, and the trials that come of it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.spec import SweepSpec, load_sweep
from ablate.spec.yaml_file import dump_yaml
from tests.spec.files import GOOD, load, mistakes

HEAD, _, TAIL = GOOD.partition("  head.kind:")
AFTER = TAIL[TAIL.index("search:") :].partition("confirm:")[0]


def with_space(*entries: str) -> str:
    """The good file with these entries, the first of them on line 8; its head.kind is fixed to mlp."""
    return HEAD + "".join(f"  {entry}\n" for entry in entries) + AFTER


@pytest.mark.parametrize(
    ("entry", "column", "words"),
    [
        ("head.depht: {int: [1, 2]}", 3, "unknown key; did you mean 'head.depth'? (allowed under head: "),
        ("depth: {int: [1, 2]}", 3, "did you mean 'head.depth'?"),
        ("head: {choice: [1]}", 3, "is a whole section; name one of its keys"),
        ("head.depth: {int: [1, 9]}", 25, "found 9, must be at least 1 and at most 8"),
        ("head.depth: {float: [1, 2]}", 16, "takes whole numbers; use int: [low, high]"),
        ("head.depth: {int: [3, 1]}", 21, "must be [low, high] with low <= high"),
        ("head.depth: {int: [1, 2, 3]}", 21, "found [1, 2, 3]"),
        ("head.depth: [1, 2]", 15, "needs exactly one of choice, int, float; found [1, 2]"),
        ("head.depth: {in: [1, 2]}", 3, "needs exactly one of choice, int, float; found in"),
        ("head.depth: {int: [1, 2], lg: true}", 29, "did you mean 'log'?"),
        ("head.norm: {choice: [batch, bach]}", 31, "did you mean 'batch'?"),
        ("head.norm: {choice: [none, none]}", 23, "repeats a value"),
        ("head.norm_last: {choice: [1]}", 29, "found 1, expected true or false"),
        ("head.kind: {choice: [mlp, lin]}", 29, "unknown kind 'lin'; did you mean 'linear'?"),
        ("head.subvector: {int: [1, 4]}", 3, "not a key of head.kind mlp"),
        ("optim.lr: {float: [0.0, 1.0]}", 22, "found 0.0, must be above 0"),
        ("optim.lr: {float: [-1, 1], log: true}", 35, "needs low > 0"),
        ("loss.temperature: {float: [0.1, 1], when: {hed.kind: mlp}}", 46, "did you mean 'head.kind'?"),
        ("loss.temperature: {float: [0.1, 1], when: {head.kind: mpl}}", 57, "unknown kind 'mpl'"),
        ("loss.temperature: {float: [0.1, 1], when: {head.kind: linear}}", 57, "never holds"),
        ("loss.temperature: {float: [0.1, 1], when: {head.norm: none}}", 57, "it is 'batch' in base"),
        ("loss.temperature: {float: [0.1, 1], when: {head.norm: [bach]}}", 58, "did you mean 'batch'?"),
        ("loss.temperature: {float: [0.1, 1], when: {loss.temperature: 1}}", 39, "makes a cycle"),
    ],
)
def test_a_wrong_entry_is_placed_and_explained(tmp_path: Path, entry: str, column: int, words: str) -> None:
    found = mistakes(tmp_path, with_space(entry))
    assert any(line.startswith(f"8:{column}: ") and words in line for line in found), found


@pytest.mark.parametrize(
    ("entries", "place", "words"),
    [
        (
            [
                "head.kind: {choice: [mlp, none]}",
                "loss.temperature: {float: [0.1, 1], when: {head.kind: linear}}",
            ],
            "9:57",
            "'linear' cannot occur: space.head.kind has ['mlp', 'none']",
        ),
        (
            ["optim.lr: {float: [0.1, 1]}", "loss.temperature: {float: [0.1, 1], when: {optim.lr: 0.5}}"],
            "9:46",
            "drawn from a range, so it never equals a value",
        ),
        (
            ["head.depth: {int: [1, 3]}", "loss.temperature: {float: [0.1, 1], when: {head.depth: [1, 4]}}"],
            "9:62",
            "4 cannot occur",
        ),
        # Mistakes of combinations are found by drawing points.
        (
            ["head.kind: {choice: [mlp, linear]}", "head.depth: {int: [1, 3]}"],
            "9:3",
            "not a key of kind linear",
        ),
        (["head.kind: {choice: [mlp, directclr]}"], "8:3", "missing key 'subvector'"),
        (
            [
                "head.kind: {choice: [mlp, directclr]}",
                "head.subvector: {int: [1, 65], when: {head.kind: directclr}}",
            ],
            "9:3",
            "65 exceeds the encoder's width (64)",
        ),
        (["optim.epochs: {int: [1, 8]}"], "8:3", "must be below epochs (1)"),
        (
            ["head.sparsity.penalty: {choice: [null, l1]}", "head.sparsity.shrink: {float: [0.1, 1]}"],
            "9:3",
            "although head.sparsity.penalty is null",
        ),
    ],
)
def test_entries_that_do_not_fit_together_are_found(
    tmp_path: Path, entries: list[str], place: str, words: str
) -> None:
    found = mistakes(tmp_path, with_space(*entries))
    assert any(line.startswith(f"{place}: ") and words in line for line in found), found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{choice: [mlp, directclr]}", "{choice: []}"),
        ("{choice: [mlp, directclr]}", "{choce: [mlp, directclr]}"),
        ("{choice: [mlp, directclr]}", "{choice: [mlp, directclr], role: main}"),
        ("head: {kind: mlp, depth: 2}\n", "head: {kind: mpl, depth: 2}\n"),
        ("lr: 1e-1", "lr: fast"),
    ],
)
def test_one_mistake_is_reported_once_and_not_through_what_depends_on_it(
    tmp_path: Path, old: str, new: str
) -> None:
    assert GOOD.count(old) == 1
    assert len(mistakes(tmp_path, GOOD.replace(old, new))) == 1


def test_a_condition_may_hold_by_the_default_of_a_kind_that_is_drawn(tmp_path: Path) -> None:
    text = with_space(
        "head.kind: {choice: [linear, mlp]}", "loss.temperature: {float: [0.1, 1], when: {head.bias: false}}"
    )
    assert set(load(tmp_path, text).space) == {"head.kind", "loss.temperature"}


def test_a_reference_must_fit_every_best_configuration_the_search_may_find(tmp_path: Path) -> None:
    text = GOOD.replace("plain: {head: {kind: mlp, depth: 2}}", "plain: {head.sparsity: null}")
    (found,) = mistakes(tmp_path, text)
    assert found.startswith("19:28: ")
    assert "sparsity: not a key of kind directclr" in found


keys = st.sampled_from(["optim.lr", "loss.temperature", "optim.weight_decay", "loss.margin.angular"])
bounds = st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted)
floats = st.builds(lambda b, log: {"float": list(b), "log": log}, bounds, st.booleans())
choices = st.lists(st.floats(0.01, 1), min_size=1, max_size=4, unique=True).map(lambda c: {"choice": c})
whole = st.tuples(st.integers(2, 64), st.integers(2, 64)).map(sorted)
ints = st.builds(
    lambda b, when: {"int": list(b), **when}, whole, st.sampled_from([{}, {"when": {"head.depth": 2}}])
)
spaces = st.builds(
    lambda a, b: {**a, **b, "head.depth": {"choice": [1, 2]}},
    st.dictionaries(keys, floats | choices),
    st.dictionaries(st.sampled_from(["head.hidden", "head.out"]), ints),
)


@given(spaces)
@settings(max_examples=15, deadline=None)
def test_any_space_reads_back_equal_from_its_resolved_sweep(
    tmp_path_factory: pytest.TempPathFactory, space: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("space") / "sweep.yaml"
    path.write_text(HEAD.replace("space:\n", "") + AFTER + dump_yaml({"space": space}))
    sweep: SweepSpec = load_sweep(path)
    path.write_text(dump_yaml(sweep.as_dict()))
    assert load_sweep(path) == sweep
    assert {k: (e.get("choice") or e.get("float") or e.get("int")) for k, e in space.items()} == {
        k: e.as_dict()[next(n for n in ("choice", "float", "int") if n in e.as_dict())]
        for k, e in sweep.space.items()
    }
