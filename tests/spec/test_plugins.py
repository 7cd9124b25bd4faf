"""Kinds that installed packages bring: taken up, or refused in words that name the package."""

import sys
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from ablate.spec import parts, plugins
from ablate.spec.base import Spec
from ablate.spec.data import DigitsData, ScatteredDigitsData
from ablate.spec.head import HeadSpec, NoHead
from ablate.spec.method import LOSSES_OF_METHOD
from ablate.spec.paths import kinds, members
from ablate.spec.plugins import PluginError, plugins_in_use, registered, source_files, with_plugins
from tests.spec.plugin import GOOD, Install

HEADS = "ablate.heads"


def test_without_plugins_the_union_is_as_it_was(installed: Install) -> None:
    installed({})
    assert with_plugins(HeadSpec, HEADS) is HeadSpec


def test_an_installed_class_is_a_kind_like_any_other(installed: Install) -> None:
    installed({HEADS: {"wavy": "wavy:Wavy"}})
    union = with_plugins(HeadSpec, HEADS)

    class Holder(Spec):
        head: union  # type: ignore[valid-type]

    assert Holder.model_validate({"head": {"kind": "wavy"}}).head.as_dict() == {"kind": "wavy"}  # type: ignore[attr-defined]
    assert Holder.model_validate({"head": {"kind": "none"}}).head == NoHead()
    with pytest.raises(ValidationError, match="does not match any of the expected tags"):
        Holder.model_validate({"head": {"kind": "wave"}})
    assert [k for m in members(union) for k in kinds(m)] == [
        *(k for m in members(HeadSpec) for k in kinds(m)),
        "wavy",
    ]


@pytest.mark.parametrize(("group", "kind", "value", "words"), [
    (HEADS, "wavy", "wavy:something", "is 3, not a subclass of ablate.spec.base.Spec"),
    (HEADS, "wavy", "wavy:Kindless", "needs kind: Literal['wavy'], as the entry point is named; it has no"),
    (HEADS, "waves", "wavy:Wavy", "needs kind: Literal['waves'], as the entry point is named; of wavy"),
    (HEADS, "bare", "wavy:Bare", "needs implementation: ClassVar[str]"),
    (HEADS, "wavy", "wavy:Missing", "cannot be imported: AttributeError"),
    (HEADS, "wavy", "nowhere:Wavy", "cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
    ("ablate.losses", "wavy", "wavy:Wavy", "needs methods, a ClassVar[tuple[str, ...]] of kinds"),
    ("ablate.losses", "wavy", "wavy:OddLoss", "needs methods, a ClassVar[tuple[str, ...]] of kinds"),
    ("ablate.methods", "wavy", "wavy:Loss", "needs losses, a ClassVar[tuple[str, ...]] of kinds"),
    ("ablate.encoders", "wavy", "wavy:Wavy", "needs a method features(size: int) -> int"),
    ("ablate.sources", "wavy", "wavy:Wavy", "must derive from ablate.spec.data.SeededValidation"),
])  # fmt: skip
def test_what_cannot_be_used_is_refused_by_the_name_of_its_package(
    installed: Install, group: str, kind: str, value: str, words: str
) -> None:
    installed({group: {kind: value}})
    with pytest.raises(PluginError) as caught:
        with_plugins(HeadSpec, group)
    assert str(caught.value).startswith(f"plugin wavy_heads, entry point {kind} = {value!r} of {group}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(("group", "value"), [
    ("ablate.losses", "Loss"), ("ablate.encoders", "Encoder"), ("ablate.sources", "Data"),
])  # fmt: skip
def test_what_has_all_that_its_group_asks_for_is_taken(installed: Install, group: str, value: str) -> None:
    installed({group: {"wavy": f"wavy:{value}"}})
    union: Any = Annotated[DigitsData | ScatteredDigitsData, Field(discriminator="kind")]
    assert [model.__name__ for model in members(with_plugins(union, group))][2:] == [value]


def test_a_kind_that_is_taken_is_refused(installed: Install) -> None:
    installed({HEADS: {"mlp": "wavy:Taken"}})
    with pytest.raises(PluginError, match=r"plugin wavy_heads, entry point mlp = .*: kind 'mlp' is taken"):
        with_plugins(HeadSpec, HEADS)


def test_an_implementation_is_imported_when_it_is_first_needed(installed: Install) -> None:
    table: dict[type[Spec], str] = {NoHead: "nothing"}
    monkey = "import wavy, tests.spec.test_plugins as t\nt.TABLE[wavy.Wavy] = 'waves'\n"
    installed({HEADS: {"wavy": "wavy:Wavy"}}, {"wavy_net.py": monkey})
    [wavy] = plugins.plugins(HEADS)
    assert "wavy_net" not in sys.modules
    TABLE.clear()
    assert registered(TABLE, wavy, "head") == "waves"
    assert registered(table, NoHead, "head") == "nothing"
    with pytest.raises(TypeError, match="no head is registered for Wavy by wavy_net; registered: NoHead"):
        registered(table, wavy, "head")


TABLE: dict[type[Spec], str] = {}


def test_an_implementation_that_breaks_is_named(installed: Install) -> None:
    installed({HEADS: {"wavy": "wavy:Wavy"}}, {"wavy_net.py": "import not_there"})
    [wavy] = plugins.plugins(HEADS)
    with pytest.raises(
        PluginError, match=r"entry point wavy = .*: its implementation wavy_net cannot be imported"
    ):
        registered({}, wavy, "head")


def test_a_plugin_is_in_use_where_its_kind_is_named(installed: Install) -> None:
    installed({HEADS: {"wavy": "wavy:Wavy"}})

    class Somewhere(Spec):
        names: tuple[str, ...]
        kind: Literal["x"] = "x"

    assert plugins_in_use(Somewhere(names=("mlp",))) == ()
    assert [m.__name__ for m in plugins_in_use(Somewhere(names=("mlp", "wavy")))] == ["Wavy"]


def test_its_code_is_that_of_the_packages_it_lies_in(installed: Install) -> None:
    spec = GOOD.replace('"wavy_net"', '"waves.nets.net"')
    files = {"waves/__init__.py": "", "waves/spec.py": spec, "waves/nets/net.py": "", "other.py": ""}
    folder = installed({HEADS: {"wavy": "waves.spec:Wavy"}}, files)
    [wavy] = plugins.plugins(HEADS)
    # All below waves: what net.py imports from beside it decides about numbers as well.
    assert source_files(wavy) == [folder / "waves" / f for f in ("__init__.py", "nets/net.py", "spec.py")]


def test_code_of_single_modules_is_those_modules(installed: Install) -> None:
    folder = installed({HEADS: {"wavy": "wavy:Wavy"}}, {"wavy_net.py": "", "other.py": ""})
    [wavy] = plugins.plugins(HEADS)
    assert source_files(wavy) == [folder / "wavy.py", folder / "wavy_net.py"]


def test_an_implementation_that_is_nowhere_has_no_code(installed: Install) -> None:
    installed({HEADS: {"wavy": "wavy:Wavy"}})
    [wavy] = plugins.plugins(HEADS)
    with pytest.raises(PluginError, match=r"entry point wavy = .*: there is no module wavy_net"):
        source_files(wavy)


def test_a_loss_says_which_methods_it_goes_with(installed: Install) -> None:
    installed({"ablate.losses": {"wavy": "wavy:Loss"}})
    found = parts._losses_of_method()
    assert found["simclr"] == ("info-nce", "wavy")
    assert {method: losses for method, losses in found.items() if method != "simclr"} == {
        method: losses for method, losses in LOSSES_OF_METHOD.items() if method != "simclr"
    }


@pytest.mark.parametrize(("old", "new", "words"), [
    ('("simclr",)', '("simclear",)', "goes with method 'simclear', which there is not"),
    ('("simclr",)', '("byol", "none")', "goes with method 'none', which there is not"),
])  # fmt: skip
def test_a_loss_of_no_method_is_refused(installed: Install, old: str, new: str, words: str) -> None:
    installed({"ablate.losses": {"wavy": "other:Loss"}}, {"other.py": GOOD.replace(old, new)})
    with pytest.raises(PluginError, match=words):
        parts._losses_of_method()


@pytest.mark.parametrize("losses", ["info-nce", "unheard"])
def test_a_method_says_which_losses_go_with_it(installed: Install, losses: str) -> None:
    more = f'\nclass Method(Wavy):\n    losses: ClassVar[tuple[str, ...]] = ("{losses}",)\n'
    installed({"ablate.methods": {"wavy": "other:Method"}}, {"other.py": GOOD + more})
    if losses == "info-nce":
        assert parts._losses_of_method()["wavy"] == ("info-nce",)
    else:
        with pytest.raises(PluginError, match="method 'wavy' goes with loss 'unheard', which there is not"):
            parts._losses_of_method()


@pytest.mark.parametrize("preset", [None, "digits", "unheard"])
def test_a_source_says_which_views_are_its_preset(installed: Install, preset: str | None) -> None:
    more = "" if preset is None else f'    preset: ClassVar[str] = "{preset}"\n'
    installed(
        {"ablate.sources": {"wavy": "other:More"}},
        {"other.py": f"{GOOD}\nclass More(Data):\n    pass\n{more}"},
    )
    if preset == "unheard":
        with pytest.raises(PluginError, match=r"preset 'unheard' is none of digits, "):
            parts._presets()
    else:
        assert parts._presets()["wavy"] == (preset or "photos-32")
