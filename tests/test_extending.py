"""docs/extending.md is true: the package it shows, installed, is picked up by the schema and the commands."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.installed import install

TEXT = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
FILES = {
    path: block
    for block in re.findall(r"```(?:toml|python|yaml)\n(.*?)```", TEXT, re.DOTALL)
    for path in re.findall(r"\A# (\S+\.\w+)\n", block)
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package of the page, and its trial, lie in."""
    groups = tomllib.loads(FILES["pyproject.toml"])["project"]["entry-points"]
    files = {**FILES, "mine/__init__.py": ""}
    return install(tmp_path_factory.mktemp("site"), "mine", groups, files)


def ablate(site: Path, *arguments: str, code: str = "from ablate.cli import main; main()") -> str:
    env = os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{Path(__file__).parents[1]}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=site)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_shows_a_whole_package() -> None:
    assert set(FILES) >= {"pyproject.toml", "trial.yaml", "mine/gated.py", "mine/gated_net.py"}


def test_the_schema_knows_every_kind_of_it(site: Path) -> None:
    schema = json.loads(ablate(site, "schema", "trial"))
    named = {
        section: set(schema["properties"][section]["discriminator"]["mapping"])
        for section in ("head", "loss", "encoder", "data")
    }
    assert named["head"] >= {"gated", "mlp"}
    assert named["loss"] >= {"hinge", "info-nce"}
    assert named["encoder"] >= {"patches", "pixels"}
    assert named["data"] >= {"arrays", "digits"}
    out = schema["$defs"]["GatedHead"]["properties"]["out"]
    assert (out["default"], out["description"]) == (64, "dimension of z")


def test_the_head_trains_as_the_page_says(site: Path) -> None:
    shown = ablate(site, "train", "trial.yaml", "--folder", "trial", "--cache", "cache")
    assert "COMPLETE after 1 epochs" in shown
    assert json.loads((site / "trial" / "spec.json").read_text())["head"]["out"] == 16
    assert "head.active_inputs" in json.loads(ablate(site, code=PROBE))["metrics"]
    tables = ablate(site, "combinations")
    assert "| gated | yes | yes | yes |" in tables


PROBE = """\
import mine.gated  # before anything of ours: its module may be the first to be imported
import sys
from ablate.cli import main
from pathlib import Path
sys.argv = ["ablate", "probe", "trial", "--cache", "cache", "--json", "probe.json"]
try:
    main()
except SystemExit as end:
    assert not end.code
sys.stdout.write("\\n")
print("\\n" * 0 + Path("probe.json").read_text()) if False else None
"""
