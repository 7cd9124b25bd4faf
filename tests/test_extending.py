"""docs/extending.md is true: the package it shows, installed, is picked up by the schema and the commands."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.installed import install

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "extending.md").read_text()
FILES = {
    path: block
    for block in re.findall(r"```(?:toml|python|yaml)\n(.*?)```", TEXT, re.DOTALL)
    for path in re.findall(r"\A# (\S+\.\w+)\n", block)
}


# All commands in one process, which imports torch once; the plugin's module may be the first of all to be
# imported.
RUN = """\
import mine.gated
import json, sys
from ablate.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["ablate", *arguments]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package of the page, its trial, and some data lie in."""
    groups = tomllib.loads(FILES["pyproject.toml"])["project"]["entry-points"]
    folder = install(tmp_path_factory.mktemp("site"), "mine", groups, {**FILES, "mine/__init__.py": ""})
    rng = np.random.default_rng(0)
    images = {s: rng.integers(0, 255, (n, 12, 12, 3), np.uint8) for s, n in (("train", 60), ("test", 20))}
    labels = {split: np.arange(len(found)) % 3 for split, found in images.items()}
    arrays = {f"{s}_images": images[s] for s in images} | {f"{s}_labels": labels[s] for s in labels}
    np.savez(folder / "blobs.npz", **arrays)
    return folder


def ablate(site: Path, *commands: list[str]) -> str:
    env = os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=False,
        env=env,
        cwd=site,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def test_the_page_shows_a_whole_package() -> None:
    assert set(FILES) >= {"pyproject.toml", "trial.yaml", "mine/gated.py", "mine/gated_net.py"}


def test_the_schema_knows_every_kind_of_it(site: Path) -> None:
    schema = json.loads(ablate(site, ["schema", "trial"]))
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


def test_the_tables_of_what_goes_with_what_show_it(site: Path) -> None:
    rows = [row for row in ablate(site, ["combinations"]).splitlines() if row.startswith("| gated |")]
    assert len(rows) >= 2
    assert all(set(row.split(" | ")[1:]) == {"yes", "yes |"} for row in rows)


def test_all_of_it_trains_as_the_page_says_and_is_measured_anew(site: Path) -> None:
    parts = {"data": "{kind: arrays, path: blobs.npz}", "loss": "{kind: hinge, gap: 0.3}"}
    parts |= {"encoder": "{kind: patches, width: 8}", "optim.batch": "16"}
    sets = [text for key, value in parts.items() for text in ("--set", f"{key}={value}")]
    cache = ["--cache", "cache"]
    shown = ablate(
        site,
        ["train", "trial.yaml", "--folder", "trial", *cache],
        ["probe", "trial", "--json", "probe.json", *cache],
        ["train", "trial.yaml", *sets, "--folder", "all", *cache],
    )
    assert shown.count("COMPLETE after 1 epochs") == 2
    assert read(site / "trial" / "spec.json")["head"]["out"] == 16
    found, own = read(site / "probe.json"), read(site / "trial" / "metrics.json")
    assert {name: found["metrics"][name] for name in own} == own
    assert "head.active_inputs" in found["metrics"]
    assert found["notes"] == []
    whole = read(site / "all" / "spec.json")
    assert (whole["loss"]["gap"], whole["encoder"]["side"], whole["views"]["size"]) == (0.3, 4, 32)
