"""What the README shows is true: its search space loads, its names, commands, files and targets exist.
Every link within it and docs/ leads to a file, and to a heading there."""

import re
from pathlib import Path

import pytest
import typer.main

import ablate
from ablate.cli.app import app
from ablate.spec import load_sweep

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_search_space_loads(tmp_path: Path) -> None:
    [space] = blocks("yaml")
    path = tmp_path / "space.yaml"
    path.write_text(space)
    sweep = load_sweep(path)
    assert sweep.name == "my-question"
    assert sweep.confirm is not None


def test_every_name_of_the_python_example_exists() -> None:
    [example] = [block for block in blocks("python") if block.startswith("import ablate\n")]
    names = set(re.findall(r"ablate((?:\.\w+)+)", example))
    assert names >= {".load_sweep", ".run_sweep", ".run_trial", ".objective.info_nce"}
    for name in names:
        found: object = ablate
        for part in name.split(".")[1:]:
            found = getattr(found, part)


def test_the_head_of_ones_own_is_the_one_that_is_tested() -> None:
    tested = (ROOT / "docs" / "extending.md").read_text()  # by tests/test_extending.py
    own = [block for block in blocks("python") if block.startswith("# mine/")]
    assert len(own) == 2
    assert all(block in tested for block in own)
    [entry] = blocks("toml")
    assert entry in tested


def test_every_command_and_target_exists() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    used = set(re.findall(r"(?:`|^\$? ?)ablate ([a-z]+)", TEXT, re.MULTILINE))
    assert used >= {"sweep", "resume", "status", "bench"}
    assert used <= set(commands)
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake (sweep|test|evidence)\b", TEXT)) <= targets


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What headings are called in links, in the manner of GitHub."""
    headings = re.findall(r"^#+ +(.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> set[str]:
    found = re.findall(r"\]\(([^)]+)\)", prose(page)) + re.findall(r"""<img[^>]* src="([^"]+)""", prose(page))
    return {link for link in found if not link.startswith("http")}


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        file, _, heading = link.partition("#")
        target = page.parent / file if file else page
        assert target.is_file(), link
        assert not heading or heading in anchors(target), link


def test_nothing_is_left_to_fill_in() -> None:
    assert "@@" not in TEXT
