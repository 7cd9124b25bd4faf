"""Links to MLflow: the right page, and never a password."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.report.content.tracked import LOCAL, tracked_in, without_user

RUNS = {"t0000": "0" * 32}


def written(folder: Path, **parts: object) -> Path:
    mark = {"uri": "sqlite:////a/b.db", "experiment_id": "3", "parent": "f" * 32, "runs": RUNS}
    (folder / "tracking.json").write_text(json.dumps(mark | parts))
    return folder


@pytest.mark.parametrize(
    ("uri", "site"),
    [
        ("http://tracking:5001", "http://tracking:5001"),
        ("https://me:secret@host.example/flow/", "https://host.example/flow"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("sqlite:////runs/mlflow.db", LOCAL),
        ("postgresql+psycopg2://me:secret@db/flow", LOCAL),
    ],
)
def test_a_run_has_its_page(tmp_path: Path, uri: str, site: str) -> None:
    found = tracked_in(written(tmp_path, uri=uri))
    assert found is not None
    assert found.run("t0000") == f"{site}/#/experiments/3/runs/{'0' * 32}?workflowType=machine_learning"
    assert found.run("t0001") == ""
    assert found.sweep == f"{site}/#/experiments/3/runs/{'f' * 32}?workflowType=machine_learning"
    assert found.local == (site == LOCAL)


@pytest.mark.parametrize(
    "parts",
    [
        {"uri": "databricks"},
        {"uri": "javascript:alert(1)"},
        {"runs": None},
        {"parent": ""},
        {"uri": "http://a:b"},
    ],
)
def test_where_there_is_no_page_there_is_no_link(tmp_path: Path, parts: dict[str, object]) -> None:
    assert tracked_in(written(tmp_path, **parts)) is None


def test_without_a_mirror_there_is_no_link(tmp_path: Path) -> None:
    assert tracked_in(tmp_path) is None
    (tmp_path / "tracking.json").write_text("{")
    assert tracked_in(tmp_path) is None


words = st.text("abcdefghijklmnopqrstuvwxyz0123456789%!", min_size=1, max_size=12)


@given(user=words, password=words, host=st.sampled_from(["db", "tracking.example:5432"]))
def test_no_user_and_no_password_remain(user: str, password: str, host: str) -> None:
    uri = f"postgresql://U{user}:P{password}@{host}/flow"
    assert without_user(f"{uri}?password={password}") == f"postgresql://{host}/flow"
