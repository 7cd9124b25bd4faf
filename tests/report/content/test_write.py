"""The files of a report: all there, each whole, equal when written again, and small for a large sweep."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ablate.report.content import write_report
from ablate.report.results import write_results
from tests.report.content.reading import figures, report
from tests.report.content.sweeps import large, mirrored, rich
from tests.report.content.sweeps import write as written
from tests.report.content.test_document import best
from tests.report.made_sweep import Made


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_all_files_are_written_and_figures_by_their_ids(tmp_path: Path) -> None:
    folder = best(tmp_path)
    page = write_report(folder)
    assert page == folder / "report" / "index.html"
    found = contents(folder / "report")
    drawn = {f"figures/{id}.svg" for id in figures(report(folder))}
    assert found.keys() == {"index.html", "report.md", "tables.tex", "results.parquet"} | drawn
    text = page.read_text()
    for id in ("verdict-table", "forest", "scores-by-seed", "run-t0000", "runs-confirm-best"):
        assert f'id="{id}"' in text
    for name in drawn:
        assert f"]({name})" in (folder / "report" / "report.md").read_text()
    assert "\\toprule" in found["tables.tex"].decode()
    assert pq.read_table(write_results(folder)).equals(pq.read_table(folder / "report" / "results.parquet"))


def test_written_again_every_byte_is_the_same(tmp_path: Path) -> None:
    folder = best(tmp_path)
    mirrored(folder, "sqlite:////a/mlflow.db")
    write_report(folder)
    before = contents(folder / "report")
    write_report(folder)
    assert contents(folder / "report") == before


def test_figures_that_are_no_more_are_removed_and_other_files_are_not(tmp_path: Path) -> None:
    folder = best(tmp_path)
    write_report(folder)
    (folder / "report" / "figures" / "of-an-earlier-report.svg").write_text("<svg/>")
    (folder / "report" / "notes.txt").write_text("mine")
    write_report(folder)
    found = contents(folder / "report")
    assert "figures/of-an-earlier-report.svg" not in found
    assert found["notes.txt"] == b"mine"


def test_what_cannot_be_finished_leaves_the_old_page_and_no_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(rich(Made().search().confirm()), tmp_path / "made")
    before = write_report(folder).read_bytes()
    real = Path.replace

    def full(source: Path, target: Path) -> Path:
        if target.name == "index.html":
            raise OSError(28, "No space left on device")
        return real(source, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(folder)
    assert (folder / "report" / "index.html").read_bytes() == before
    assert not list((folder / "report").rglob("*.part"))


def test_the_report_of_five_hundred_trials_stays_below_ten_megabytes(tmp_path: Path) -> None:
    page = write_report(large(tmp_path / "large"))
    sizes = {name: len(content) for name, content in contents(page.parent).items()}
    assert sizes["index.html"] < 10e6
    assert sum(sizes.values()) < 20e6
    assert max(size for name, size in sizes.items() if name.endswith(".svg")) < 1e6
