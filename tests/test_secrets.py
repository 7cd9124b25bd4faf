"""Keys, tokens and passwords stay in the environment, and are in nothing that a sweep writes or says."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ablate.ledger import Store, StoreError
from ablate.spec.sweep import SweepSpec
from ablate.sweep.run import run_sweep
from ablate.tracking.store import find_store
from ablate.tracking.ui import ui_command, ui_environment
from tests.ledger.object_store import s3_bucket
from tests.search.synthetic import sweep

QUESTION = "does it resume?"  # which is in many a file: what is looked for would be found
SECRETS = {
    "RAY_AUTH_TOKEN": "canary-of-ray-5f1c",
    "AWS_SECRET_ACCESS_KEY": "canary-of-the-bucket-93ab",
    "AWS_SESSION_TOKEN": "canary-of-the-session-77d0",
    "MLFLOW_TRACKING_PASSWORD": "canary-of-mlflow-e20d",
    "MLFLOW_TRACKING_TOKEN": "canary-of-its-token-1b64",
    "HF_TOKEN": "canary-of-the-hub-c41e",
}


def everything_in(folder: Path) -> dict[str, bytes]:
    """All files by name; of tables also what is in them, for they are compressed."""
    found = {}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        found[name] = path.read_bytes()
        if path.suffix == ".parquet":
            found[f"{name}, read"] = str(pq.read_table(path).to_pydict()).encode()
    return found


def holding(secret: str, found: dict[str, bytes]) -> list[str]:
    return [name for name, content in found.items() if secret.encode() in content]


def tiny(**tracking: str) -> SweepSpec:
    made = sweep(trials=1, epochs=1, name="s").as_dict()
    return SweepSpec.model_validate({**made, "tracking": {**made["tracking"], **tracking}})


def test_a_sweep_writes_no_secret_of_its_environment_anywhere(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Trained for real, tracked in MLflow, stored in a bucket."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with s3_bucket() as url, caplog.at_level(logging.DEBUG, "ablate"):
        for name, value in SECRETS.items():
            monkeypatch.setenv(name, value)
        run_sweep(tiny(), runs=tmp_path / "runs", backend="inline", cache=tmp_path / "cache", storage=url)
        store = Store.at(url, "s")
        found = everything_in(tmp_path) | {f"stored {key}": store.get(key) for key in store.sizes()}
    out, err = capfd.readouterr()
    found |= {"printed": (out + err + caplog.text).encode()}
    with_question = holding(QUESTION, found)
    assert {"runs/mlflow.db", "runs/s/ledger.jsonl", "stored sweep.json"} <= set(with_question)
    assert {name: holding(value, found) for name, value in SECRETS.items()} == {name: [] for name in SECRETS}


def test_the_password_of_a_server_that_is_away_is_not_repeated(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = "canary-of-the-uri-08aa"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{secret}@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run_sweep(tiny(), runs=tmp_path / "runs", backend="inline", cache=tmp_path / "cache")
    out, err = capfd.readouterr()
    found = everything_in(tmp_path) | {"printed": (out + err + caplog.text).encode()}
    assert "MLflow (http://me@127.0.0.1:9) lacks a part of this sweep" in caplog.text
    assert holding(secret, found) == []


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAXXXX:canary@bucket/prefix",
        "s3://AKIAXXXX:can/ary@bucket/prefix",
        "s3://canary@bucket",
        "az://container/prefix?sig=canary",
        "ftp://me:canary@host/folder",
    ],
)
def test_a_storage_url_with_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(
        StoreError, match=r"holds more than a bucket and a prefix.*AWS_SECRET_ACCESS_KEY"
    ) as error:
        Store.at(url)
    assert "canary" not in str(error.value)
    assert "AKIA" not in str(error.value)


def test_the_password_of_a_database_is_not_in_the_command_that_serves_it(tmp_path: Path) -> None:
    """Everybody on a machine can read the commands of all its processes."""
    store = find_store(tmp_path, "postgresql://me:canary@db/mlflow")
    assert "canary" not in " ".join(ui_command(store, 5000))
    assert ui_environment(store)["MLFLOW_BACKEND_STORE_URI"] == "postgresql://me:canary@db/mlflow"
