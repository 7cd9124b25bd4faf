"""What others made (checkpoints, ledgers, sweep files, buckets) is read, and neither run nor followed."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ablate.cli.app import app
from ablate.ledger import Event, Ledger, LedgerError, Store, StoreError
from ablate.ledger.record import RESERVED
from ablate.report.arrays import read_arrays
from ablate.spec import SpecError, load_sweep
from ablate.sweep.driver import Driver
from ablate.sweep.housekeeping import collect
from ablate.sweep.status import status_of
from ablate.sweep.storage import SweepStorage
from ablate.trial import Checkpoint, CheckpointError
from ablate.trial.artifacts import ArtifactError, trained_model
from ablate.trial.checkpoint import load_checkpoint
from tests.ledger.object_store import s3_bucket
from tests.report.made_sweep import Made
from tests.search.synthetic import METRIC, sweep
from tests.sweep.operated import ended


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What is there once foreign code ran."""
    return tmp_path / "it-ran"


def rewritten(folder: Path, change: Any) -> None:
    """Forge the ledger of a folder: ``change`` is given every event, and changes it in place."""
    path = folder / "ledger.jsonl"
    events = [{k: v for k, v in e.items() if k not in RESERVED} for e in Ledger.read(path)]
    path.unlink()
    ledger = Ledger.open(path)
    for event in events:
        change(event)
    ledger.extend(events)
    ledger.close()


# --- files of weights and arrays --------------------------------------------------------------------------


def test_code_in_a_checkpoint_is_not_run_even_if_its_digest_is_right(tmp_path: Path, mark: Path) -> None:
    path = tmp_path / "epoch-0001.pt"
    torch.save({"model": Bomb(mark)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    with pytest.raises(CheckpointError, match=r"epoch-0001\.pt: holds more than tensors and plain values"):
        load_checkpoint(Checkpoint(1, str(path), digest), torch.device("cpu"))
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists(), "the bomb works, were it loaded"


def test_code_in_the_weights_of_a_finished_trial_is_not_run(tmp_path: Path, mark: Path) -> None:
    for name in ("encoder.pt", "head.pt"):
        torch.save(Bomb(mark), tmp_path / name)
    with pytest.raises(ArtifactError, match=r"encoder\.pt: damaged, or no file of weights alone"):
        trained_model(tmp_path, sweep().base)
    assert not mark.exists()


def test_pickles_in_arrays_are_not_read(tmp_path: Path, mark: Path) -> None:
    path = tmp_path / "correct.npz"
    np.savez(path, x=np.array([Bomb(mark)], dtype=object))
    assert read_arrays(path) == {}
    assert not mark.exists()


# --- files that say what to run ---------------------------------------------------------------------------


def test_a_sweep_file_cannot_name_code(tmp_path: Path, mark: Path) -> None:
    file = tmp_path / "hostile.yaml"
    file.write_text(f"name: !!python/object/apply:os.mkdir ['{mark}']\n")
    with pytest.raises(SpecError):
        load_sweep(file)
    assert not mark.exists()


def test_looking_at_a_foreign_sweep_imports_nothing_that_it_names(
    tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if it had been run with a plugin: recorded as a kind, as its class and as its implementation."""
    (tmp_path / "hostile.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    runs = tmp_path / "runs"
    for name in ("one", "two"):
        folder = Made(name).search().end().write(runs / name)
        _name_a_plugin(folder)
    for words in (["status", "one"], ["report", "one", "--no-mlflow"], ["compare", "one", "two"]):
        result = CliRunner().invoke(app, [*words, "--runs", str(runs)])
        if words[0] == "status":
            assert result.exit_code == 0, result.output
        else:
            assert isinstance(result.exception, SystemExit), result.exception
            assert "Input tag 'hostile:Head'" in result.output
    assert "hostile" not in sys.modules
    assert not mark.exists()


def _name_a_plugin(folder: Path) -> None:
    plugin = {"kind": "hostile:Head", "implementation": "hostile", "class": "hostile.Head"}

    def change(event: Event) -> None:
        if event["event"] == "opened":
            event["sweep"]["base"]["head"] = plugin
        if event["event"] == "asked":
            event["spec"]["head"] = plugin

    rewritten(folder, change)
    spec = json.loads((folder / "sweep.json").read_text())
    spec["base"]["head"], spec["plugins"] = plugin, ["hostile"]
    (folder / "sweep.json").write_text(json.dumps(spec))


# --- names that lead elsewhere ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../../outside", "/etc", "..", "a/b", ""])
def test_a_trial_cannot_be_named_as_a_path(tmp_path: Path, name: str) -> None:
    folder = Made("s").search().write(tmp_path / "s")
    rewritten(folder, lambda event: event.update(trial=name) if event.get("trial") == "t0001" else None)
    with pytest.raises(LedgerError, match=r"ledger\.jsonl, line \d+: '.*' is no name of a trial"):
        Ledger.read(folder / "ledger.jsonl")
    assert "no name of a trial" in status_of(folder).error


@pytest.mark.parametrize("through_a_link", [False, True])
def test_going_on_with_a_foreign_sweep_touches_no_file_outside_of_it(
    tmp_path: Path, through_a_link: bool
) -> None:
    """Its ledger calls a file of mine a checkpoint, first one that is superseded, then the last."""
    mine = tmp_path / "mine" / "thesis.pt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with Driver(sweep(), tmp_path) as driver:
        assignment = driver.next("a")
        assert assignment is not None
        place = assignment.folder / "1"
        place.mkdir(parents=True)
        for epoch in (1, 2):
            driver.reported(assignment.trial, epoch, {METRIC: 0.1})
            (place / f"{epoch}.pt").write_text("x")
            driver.checkpointed(assignment.trial, Checkpoint(epoch, str(place / f"{epoch}.pt"), "d"))
    link = tmp_path / "s" / "trials" / "link"
    link.symlink_to(mine.parent)
    path = "trials/link/thesis.pt" if through_a_link else "../mine/thesis.pt"
    rewritten(tmp_path / "s", lambda e: e.update(path=path) if e["event"] == "checkpointed" else None)
    with Driver.resume("s", tmp_path) as driver:
        again = driver.next("a")
        assert again is not None
        assert again.checkpoint is None, "it begins again"
    assert mine.read_text() == "mine"


def test_gc_does_not_follow_links_out_of_a_sweep(tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "2024"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("mine")
    folder = ended(tmp_path)
    (folder / "trials" / "t9999").symlink_to(mine.parent)
    (folder / ".ray-x").symlink_to(mine.parent)
    collect(folder, delete=True)
    assert (mine / "thesis.txt").read_text() == "mine"


def test_names_in_a_bucket_lead_to_no_file_outside_of_the_sweep(tmp_path: Path) -> None:
    with s3_bucket() as url:
        place = urlsplit(os.environ["AWS_ENDPOINT"])
        server = http.client.HTTPConnection(place.hostname or "", place.port)
        for key in ("s/trials/../../../outside.txt", "s/trials/%252E%252E/%252E%252E/outside.txt"):
            server.request("PUT", f"/{url.removeprefix('s3://')}/{key}", body=b"hostile")
            assert server.getresponse().read() is not None
        folder = tmp_path / "runs" / "s"
        storage = SweepStorage(Store.at(url, "s"), folder)
        with suppress(StoreError):  # which says that it does not belong there
            storage.fetch_artifacts()
        with pytest.raises(StoreError, match="leads out of"):
            storage.fetch(folder / "trials/../../../outside.txt")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.is_relative_to(folder) for path in written), written
