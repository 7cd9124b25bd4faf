"""Files laid over files with `extends`, and `--set` over both."""

from pathlib import Path

import pytest

from ablate.spec import SpecError, load_sweep
from tests.spec.files import GOOD, load, mistakes, write


def extend(folder: Path, text: str) -> Path:
    write(folder, GOOD, "shared.yaml")
    return write(folder, f"extends: shared.yaml\n{text}", "over.yaml")


def test_the_extending_file_wins_key_by_key(tmp_path: Path) -> None:
    sweep = load_sweep(extend(tmp_path, "name: over\nbase: {optim: {lr: 0.5}, seed: 7}\n"))
    assert (sweep.name, sweep.base.optim.lr, sweep.base.optim.epochs, sweep.base.seed) == ("over", 0.5, 8, 7)


def test_lists_are_replaced(tmp_path: Path) -> None:
    sweep = load_sweep(extend(tmp_path, "search: {scheduler: {rungs: [1]}}\n"))
    assert sweep.search.scheduler.as_dict()["rungs"] == [1]


def test_a_section_of_another_kind_is_replaced(tmp_path: Path) -> None:
    sweep = load_sweep(extend(tmp_path, "base: {optim: {kind: adamw, lr: 1e-3}}\n"))
    assert sweep.base.optim.kind == "adamw"
    assert sweep.base.optim.epochs == 10  # its own default, not the 8 of the sgd below


def test_entries_of_the_space_are_replaced_added_and_removed(tmp_path: Path) -> None:
    over = "space: {optim.lr: {choice: [0.1]}, head.subvector: {int: [4, 8], when: {head.kind: directclr}},"
    sweep = load_sweep(
        extend(tmp_path, f"{over} head.sparsity.shrink: null, head.sparsity.penalty: null}}\n")
    )
    assert sweep.space["optim.lr"].as_dict()["choice"] == [0.1]
    assert list(sweep.space) == ["head.kind", "head.depth", "head.subvector", "optim.lr"]


def test_mistakes_are_placed_in_the_file_they_come_from(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("[0.03, 1]", "[3, 1]"), "shared.yaml")
    path = write(tmp_path, "extends: shared.yaml\nbase: {optim: {lrr: 0.5}}\n", "over.yaml")
    with pytest.raises(SpecError) as caught:
        load_sweep(path)
    places = {str(m.place) for m in caught.value.mistakes}
    assert places == {f"{path}:2:16", f"{tmp_path / 'shared.yaml'}:13:21"}


def test_extends_of_a_missing_file_or_of_itself_is_a_mistake(tmp_path: Path) -> None:
    (first, *_) = mistakes(tmp_path, "extends: gone.yaml\nname: x\n")
    assert first.startswith("1:1: ") or first.startswith("1:10: extends: there is no file")
    write(tmp_path, "extends: a.yaml\n", "b.yaml")
    path = write(tmp_path, "extends: b.yaml\n", "a.yaml")
    with pytest.raises(SpecError, match="extend each other"):
        load_sweep(path)


def test_a_mistake_in_the_yaml_below_is_reported_there(tmp_path: Path) -> None:
    write(tmp_path, "a: [\n", "shared.yaml")
    with pytest.raises(SpecError, match=r"shared\.yaml:2:1: not YAML"):
        load_sweep(write(tmp_path, "extends: shared.yaml\n", "over.yaml"))


def test_set_replaces_values_of_the_file(tmp_path: Path) -> None:
    sweep = load(
        tmp_path,
        GOOD,
        "search.trials=8",
        "base.data={kind: parquet, path: photos, train: 100}",
        "base.optim.weight_decay=1e-6",
        "space.head.depth.int=[2, 4]",
        "confirm.references.plain.head.depth=1",
        "tracking.uri=",
    )
    assert sweep.search.trials == 8
    assert (sweep.base.data.kind, sweep.base.views.size) == ("parquet", 32)
    assert sweep.base.optim.weight_decay == 1e-6
    assert sweep.space["head.depth"].as_dict() == {
        "when": {"head.kind": "mlp"},
        "role": None,
        "int": [2, 4],
        "log": False,
        "step": 1,
    }
    assert sweep.confirm is not None
    assert sweep.confirm.references["plain"] == {"head": {"kind": "mlp", "depth": 1}}
    assert sweep.tracking.uri is None


def test_set_of_a_kind_starts_the_section_afresh_in_any_order(tmp_path: Path) -> None:
    pair = ["base.head.out=8", "base.head.kind=linear"]
    for overrides in (pair, pair[::-1]):
        sweep = load(tmp_path, GOOD, *overrides)
        assert sweep.base.head.as_dict() == {"kind": "linear", "out": 8, "bias": False, "sparsity": None}


def test_set_of_the_kind_that_a_section_has_by_default_keeps_its_values(tmp_path: Path) -> None:
    text = GOOD.replace("  optim:", "  loss: {temperature: 0.5}\n  optim:")
    assert load(tmp_path, text, "base.loss.kind=info-nce").base.loss.temperature == 0.5


def test_set_of_a_strength_drops_the_other(tmp_path: Path) -> None:
    text = GOOD.replace("depth: 2}\n  optim", "depth: 2, sparsity: {penalty: l1, weight: 1}}\n  optim")
    sparsity = load(tmp_path, text, "base.head.sparsity.shrink=0.5").base.head.as_dict()["sparsity"]
    assert (sparsity["weight"], sparsity["shrink"]) == (None, 0.5)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("base.measure.probe_l2=[0.1, -1]", "base.measure.probe_l2[1]: found -1, must be at least 0"),
        ("base.optim={kind: sgd, momentum: 0.0, nesterov: true}", "nesterov: needs a momentum above 0"),
        ("base.optim.lrr=1", "base.optim.lrr: unknown key; did you mean 'lr'?"),
        ("search.trials=0", "search.trials: found 0, must be at least 1"),
        ("space.head.dpth={int: [1, 2]}", "space.head.dpth: unknown key; did you mean 'head.depth'?"),
        ("base.seed", "expected key=value"),
        ("=3", "expected key=value"),
        ("base..seed=3", "expected key=value"),
        ("base.seed=[", "not YAML"),
        ("base.seed.deep=3", "found a mapping, expected a whole number"),
    ],
)
def test_mistakes_of_set_name_it(tmp_path: Path, override: str, words: str) -> None:
    found = mistakes(tmp_path, GOOD, override)
    assert any(line.startswith(f"--set {override}: ") and words in line for line in found), found
