"""Reading YAML 1.2 with the place of every key and value."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.spec.errors import Mistake, Place, SpecError
from ablate.spec.yaml_file import Node, dump_yaml, parse_yaml, read_yaml


def read(text: str) -> tuple[Node, list[Mistake]]:
    return parse_yaml(text, lambda line, column: Place("f", line + 1, column + 1))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("1E+3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("yes", "yes"),
        ("off", "off"),
        ("True", True),
        ("~", None),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("'1'", "1"),
        ("!!str 1", "1"),
        (r'"\ud83d\ude00"', "\U0001f600"),  # as json.dumps writes it
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    node, mistakes = read(f"key: {text}")
    found = node.plain()["key"]
    assert (type(found), found, mistakes) == (type(value), value, [])


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=("Cs", "Cc")))
    | st.sampled_from(
        ["yes", "1e3", "null", "", "a: b", "- x", "#", "0o7", "1_0", "<<", "=", "/?x", "\n", "a\nb\n"]
    )
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcdef.", min_size=1), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(st.text("abc.", min_size=1), trees, min_size=1, max_size=4))
def test_what_is_dumped_reads_back(tree: dict[str, Any]) -> None:
    node, mistakes = read(dump_yaml(tree))
    assert mistakes == []
    assert repr(node.plain()) == repr(tree)  # repr: 1 is not 1.0, and True is not 1


def test_every_key_and_value_knows_its_place() -> None:
    node, _ = read("a:\n  b: [1, two]\n  c: {d: 3}\n")
    assert node.locate(("a", "b", 1)) == Place("f", 2, 10)
    assert node.locate(("a", "c", "d")) == Place("f", 3, 10)
    assert node.locate(("a", "c", "d"), at_key=True) == Place("f", 3, 7)
    assert node.locate(("a", "c")) == Place("f", 3, 3)  # a mapping: its key
    assert node.locate(("a", "missing", "deeper")) == Place("f", 1, 1)  # nothing there: what is above it


def test_a_duplicate_key_is_a_mistake_and_the_rest_is_still_read() -> None:
    node, mistakes = read("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n")
    assert [str(m) for m in mistakes] == [
        "f:4:3: c: duplicate key; it was first given at f:3:3",
        "f:5:1: a: duplicate key; it was first given at f:1:1",
    ]
    assert node.plain() == {"a": 1, "b": {"c": 1}}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1\nb: 2", "f:2:2"),
        ("a: 1\n b: 2", "f:2:3"),
        ("a: 1\n---\nb: 2", "f:2:1"),
        ("ab: *x", "f:1:5"),
        ("a: 1\nb: \x01", "f:2:4"),
        ("&a [*a]", "f:1:1"),
        ("- " * 3000, "f:1:1"),
    ],
)
def test_what_is_not_yaml_is_reported_at_its_place(text: str, place: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(text)
    assert str(caught.value).startswith(f"{place}: not YAML: ")


def test_unknown_tags_and_keys_that_are_not_text_are_mistakes() -> None:
    _, mistakes = read("a: !foo 3\n[1]: 2\n")
    assert [str(m.place) for m in mistakes] == ["f:1:4", "f:2:1"]


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"a: \xff\n")
    for file, reason in (
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "directory"),
        (binary, "UTF-8"),
    ):
        with pytest.raises(SpecError, match=reason) as caught:
            read_yaml(file)
        assert str(caught.value).startswith(f"{file}: ")
