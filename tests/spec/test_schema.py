"""The JSON Schema that editors use agrees with what the loader takes."""

from pathlib import Path

import jsonschema
import pytest

from ablate.spec import SweepSpec, TrialSpec
from ablate.spec.schema import json_schema
from ablate.spec.yaml_file import read_yaml
from tests.spec.files import GOOD, load, write
from tests.spec.test_load import FIVE_MISTAKES

SWEEP = jsonschema.Draft202012Validator(json_schema(SweepSpec))


def errors(folder: Path, text: str) -> list[str]:
    return [e.json_path for e in SWEEP.iter_errors(read_yaml(write(folder, text))[0].plain())]


def test_it_is_a_schema_with_descriptions() -> None:
    for model in (SweepSpec, TrialSpec):
        schema = json_schema(model)
        jsonschema.Draft202012Validator.check_schema(schema)
    depth = SWEEP.schema["$defs"]["MLPHead"]["properties"]["depth"]
    assert depth["description"] == "number of linear layers"


def test_it_takes_a_good_file_and_its_resolved_form(tmp_path: Path) -> None:
    assert errors(tmp_path, GOOD) == []
    assert [e.message for e in SWEEP.iter_errors(load(tmp_path).as_dict())] == []


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("base:\n", "base:\n  views: {preset: photos-32, flip: 0.1}\n"),
        "extends: other.yaml\nsearch: {trials: 3}\n",
    ],
)
def test_it_takes_what_the_loader_completes(tmp_path: Path, text: str) -> None:
    assert errors(tmp_path, text) == []


def test_it_refuses_what_the_loader_refuses(tmp_path: Path) -> None:
    assert {"$.base.head", "$.base.optim", "$.search.trials"} <= set(errors(tmp_path, FIVE_MISTAKES))
    assert errors(tmp_path, GOOD.replace("head.depth:", "head.depht:")) != []
    assert errors(tmp_path, GOOD.replace("question:", "qestion:")) != []
