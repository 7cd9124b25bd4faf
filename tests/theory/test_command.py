"""`ablate theory`: each check cut down, with its verdicts; what fails says so; files are checked first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ablate.cli import app
from ablate.spec.load import load_theory
from ablate.theory import CHECKS

FOLDER = Path(__file__).parents[2] / "search_spaces" / "theory"
FILES = sorted(FOLDER.glob("*.yaml"))

# Fewer seeds and steps than in the files, and thresholds that so short a run can meet.
CUT_DOWN = {
    "directclr-one-layer": ["seeds=2", "steps=400", "samples=1000", "batch=64"],
    "directclr-two-layers": [
        "seeds=2", "steps=1500", "samples=1000", "batch=32",
        "expect.match_at_least=0.95", "expect.overlap_at_least=0.9",
    ],
    "directclr-depth": ["seeds=2", "steps=400", "samples=1000", "batch=32", "layers=3"],
    "xue-linear": ["seeds=2", "steps=4000", "lr=0.01", "expect.error_at_most=0.002"],
    "sparsehead": [
        "seeds=2", "steps=120", "strengths=[0.2]", "width=24", "relevant=4", "held_out=128",
    ],
    "bilevel": [
        "seeds=2", "outer_steps=20", "extra=30", "inner_steps=[0, 2, 10]", "unrolled=[10, 200]", "images=16",
    ],
    "margins": ["seeds=1", "anchors=8", "angular=[0.3]", "temperatures=[0.2]"],
}  # fmt: skip
CLAIMS = {
    "directclr-one-layer": 4,
    "directclr-two-layers": 7,
    "directclr-depth": 2,
    "xue-linear": 4,
    "sparsehead": 2,
    "bilevel": 5,
    "margins": 4,
}


def run(*arguments: str, sets: list[str] | None = None) -> Result:
    more = [part for text in sets or [] for part in ("--set", text)]
    return CliRunner().invoke(app, ["theory", *arguments, "--folder", str(FOLDER), *more])


def cut_down(name: str, *more: str) -> list[str]:
    return [f"check.{text}" for text in (*CUT_DOWN[name], *more)]


def test_there_is_a_file_for_every_kind_and_it_states_what_it_must() -> None:
    specs = [load_theory(file) for file in FILES]
    assert sorted(s.check.kind for s in specs) == sorted(CHECKS) == sorted(CUT_DOWN)
    for file, spec in zip(FILES, specs, strict=True):
        assert file.stem == spec.name == spec.check.kind
        header = file.read_text().partition("name:")[0]
        assert [
            w for w in ("Question:", "Source:", "Command:", "Cost:", "Observed:") if w not in header
        ] == []


@pytest.mark.parametrize("name", sorted(CUT_DOWN))
def test_every_claim_of_a_cut_down_check_holds(name: str, tmp_path: Path) -> None:
    result = run(name, "--json", str(tmp_path / "found.json"), sets=cut_down(name))
    assert result.exit_code == 0, result.output
    count = CLAIMS[name]
    assert f"{count} of {count} claims hold" in result.stdout
    assert result.stdout.count(" holds ") == count
    assert "DOES NOT HOLD" not in result.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    [check] = found["checks"]
    assert found["holds"] is check["holds"] is True
    assert check["name"] == name
    for claim in check["claims"]:
        assert claim["expected"]
        assert claim["observed"]
        assert claim["numbers"]


def test_a_claim_that_fails_says_so_and_the_status_is_1(tmp_path: Path) -> None:
    sets = cut_down("directclr-one-layer", "expect.strong_at_most=0.001")
    result = run("directclr-one-layer", "--json", str(tmp_path / "found.json"), sets=sets)
    assert result.exit_code == 1
    assert "3 of 4 claims hold" in result.stdout
    assert result.stdout.count("DOES NOT") == 1
    [line] = [text for text in result.stdout.splitlines() if text.startswith("does not hold:")]
    assert "directclr-one-layer: k = 1.5: augmented" in line
    assert "expected at most 0.001 (every seed), observed 0.0" in line
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["holds"] is False
    assert [c["holds"] for c in found["checks"][0]["claims"]] == [True, True, False, True]


def test_weak_augmentation_called_strong_breaks_the_claims_about_it() -> None:
    result = run("directclr-one-layer", sets=cut_down("directclr-one-layer", "strong=0.01", "weak=1.5"))
    assert result.exit_code == 1
    assert "0 of 4 claims hold" in result.stdout


def test_a_check_that_diverges_does_not_hold_and_its_json_is_json(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    result = run("bilevel", "--json", str(file), sets=cut_down("bilevel", "inner_lr=1000"))
    assert result.exit_code == 1
    text = file.read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["holds"] is False


def test_files_and_names_may_be_mixed_and_equal_files_give_equal_numbers(tmp_path: Path) -> None:
    copy = tmp_path / "mine.yaml"
    copy.write_text((FOLDER / "margins.yaml").read_text().replace("name: margins", "name: mine"))
    out = tmp_path / "found.json"
    assert run("margins", str(copy), "--json", str(out), sets=cut_down("margins")).exit_code == 0
    first, second = json.loads(out.read_text())["checks"]
    assert (first["name"], second["name"]) == ("margins", "mine")
    assert first["claims"] == second["claims"]


@pytest.mark.parametrize(
    ("arguments", "sets", "words"),
    [
        (["nothing"], [], "neither a file nor a check (found in"),
        (["bilevel"], ["check.sedes=2"], "did you mean 'seeds'"),
        (["bilevel"], ["check.inner_steps=[2, 1]"], "inner_steps: found [2, 1], must rise"),
        (["margins"], ["check.kind=margin"], "unknown kind 'margin'; did you mean 'margins'"),
        (["xue-linear"], ["check.a=[1.0, 0.5]"], "holds 2 values for 6 features"),
        (["sparsehead"], ["check.train=64"], "must be at least batch (128)"),
        (["directclr-depth"], ["check.augmented=16"], "16 must be below width (16)"),
        (["margins", "--json", "gone/found.json"], [], "there is no folder gone"),
    ],
)
def test_a_wrong_call_ends_with_status_2_before_anything_runs(
    arguments: list[str], sets: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.cli.theory.answer", lambda _: pytest.fail("it ran"))
    result = run(*arguments, sets=sets)
    assert result.exit_code == 2, result.output
    assert words in result.stderr


def test_without_names_all_files_of_the_folder_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ablate.theory import Answer

    monkeypatch.setattr("ablate.cli.theory.answer", lambda spec: Answer(spec.name, spec.question, 0.0, []))
    result = CliRunner().invoke(app, ["theory", "--folder", str(FOLDER)])
    assert result.exit_code == 0, result.output
    assert [name for name in CUT_DOWN if f"{name}: " not in result.stdout] == []
    empty = CliRunner().invoke(app, ["theory", "--folder", str(tmp_path)])
    assert empty.exit_code == 2
    assert "no checks there" in empty.stderr


def test_editors_get_a_schema_that_takes_the_files() -> None:
    import jsonschema

    schema = json.loads(CliRunner().invoke(app, ["schema", "theory"]).stdout)
    for file in FILES:
        jsonschema.Draft202012Validator(schema).validate(load_theory(file).as_dict())
