"""A plugin that cannot be used: every command that needs the specs says so in a line, with status 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installed import install


@pytest.mark.parametrize("arguments", [["schema"], ["sweep", "any.yaml"]])
def test_a_command_ends_with_the_name_of_the_package(tmp_path: Path, arguments: list[str]) -> None:
    install(tmp_path, "torn_heads", {"ablate.heads": {"torn": "torn:Torn"}}, {"torn.py": "import not_there"})
    env = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"}
    code = "from ablate.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("plugin torn_heads, entry point torn = 'torn:Torn' of ablate.heads: cannot be imp")
    assert "No module named 'not_there'" in line
