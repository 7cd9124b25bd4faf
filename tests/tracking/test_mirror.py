"""The mirror against a real MLflow store: everything arrives, once, whatever is killed or out of reach."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from ablate.report import summarise, write_results
from ablate.tracking import Mirror, Store, TrackingError, catch_up, check_recordable, find_store
from ablate.tracking import machine as machine_module
from tests.report.made_sweep import Made, append
from tests.tracking.servers import free_port, serving_ui

FINISHED = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "COLLAPSED": "FINISHED", "FAILED": "FAILED"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A runs folder whose store is made once: a new SQLite store takes seconds."""
    before = os.environ.pop("MLFLOW_TRACKING_URI", None)
    yield tmp_path_factory.mktemp("runs")
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.fixture(scope="module")
def client(runs: Path) -> MlflowClient:
    return find_store(runs).client()


@pytest.fixture(scope="module")
def whole(runs: Path) -> Path:
    """A whole sweep, mirrored from its beginning to its end as the command does it."""
    folder = Made("whole").search().confirm().write(runs / "whole")
    mirror = Mirror(folder)
    write_results(folder)
    summarise(folder)
    assert mirror.close()
    return folder


def found(client: MlflowClient, experiment: str) -> tuple[Run, dict[str, Run]]:
    """The one parent, and the children by trial."""
    place = client.get_experiment_by_name(experiment)
    everything = client.search_runs([place.experiment_id], max_results=1000)
    children = [r for r in everything if "ablate.trial" in r.data.tags]
    (parent,) = [r for r in everything if "ablate.trial" not in r.data.tags]
    assert {r.data.tags["mlflow.parentRunId"] for r in children} <= {parent.info.run_id}
    by_trial = {r.data.tags["ablate.trial"]: r for r in children}
    assert len(by_trial) == len(children), "a trial has two runs"
    return parent, by_trial


def points(client: MlflowClient, run: Run, metric: str) -> list[tuple[int, float]]:
    history = client.get_metric_history(run.info.run_id, metric)
    return sorted((p.step, p.value) for p in history)


def artifacts(client: MlflowClient, run: Run) -> set[str]:
    return {a.path for a in client.list_artifacts(run.info.run_id)}


def reported(made: Made, trial: str) -> dict[int, dict[str, float]]:
    return {e["epoch"]: e["metrics"] for e in made.events if e["event"] == "reported" and e["trial"] == trial}


def assert_all_once(client: MlflowClient, made: Made, experiment: str) -> None:
    """One parent, a child a trial, every point of every epoch exactly once, the right endings."""
    parent, children = found(client, experiment)
    finished = {e["trial"]: e for e in made.events if e["event"] == "finished"}
    assert parent.info.status == "FINISHED"
    assert children.keys() == finished.keys()
    for trial, run in children.items():
        curve, end = reported(made, trial), finished[trial]
        assert run.info.status == FINISHED[end["state"]]
        assert (run.data.tags["state"], run.data.tags["reason"]) == (end["state"], end["reason"])
        for name in ("probe.h.val", "loss"):
            assert points(client, run, name) == [(e, row[name]) for e, row in sorted(curve.items())]
        assert {k: v for k, v in run.data.metrics.items() if k != "epoch"} == end["metrics"]


@pytest.mark.usefixtures("whole")
def test_one_parent_and_all_children_with_every_epoch(client: MlflowClient) -> None:
    made = Made("whole").search().confirm()
    assert_all_once(client, made, "whole")
    _, children = found(client, "whole")
    assert children["t0000"].info.run_name == "t0000 mlp"
    assert children["c0005"].info.run_name == "c0005 simclr seed 1001"
    assert children["c0005"].data.tags["stage"] == "confirm"
    assert children["c0005"].data.tags["gpus"] == "0"
    assert children["t0001"].data.params == {
        "head.kind": "directclr", "head.subvector": "16", "optim.lr": "0.5", "seed": "0", "arm": "search",
    }  # fmt: skip


def test_results_parquet_has_the_same_values(whole: Path, client: MlflowClient) -> None:
    _, children = found(client, "whole")
    rows = pq.read_table(whole / "results.parquet").to_pylist()
    assert {r["trial_id"] for r in rows} == children.keys()
    for row in rows:
        run = children[row["trial_id"]]
        for metric in ("loss", "probe.h.val", "probe.h.test"):
            assert run.data.metrics.get(metric) == row[metric]
        assert (run.data.params["seed"], run.data.tags["arm"]) == (str(row["seed"]), row["arm"])
        assert (run.data.tags["state"], run.data.tags["spec_hash"]) == (row["state"], row["spec_hash"])
        for key, value in run.data.params.items():
            if key not in ("seed", "arm"):
                assert value == str(row[key])


@pytest.mark.usefixtures("whole")
def test_artifacts_of_trials_and_of_the_sweep(client: MlflowClient, tmp_path: Path) -> None:
    parent, children = found(client, "whole")
    assert artifacts(client, parent) == {"sweep.json", "results.parquet", "summary.md"}
    assert artifacts(client, children["t0001"]) == {"spec.json"}
    assert artifacts(client, children["t0000"]) == {
        "spec.json", "identity.json", "spectrum.npz", "spectrum.png", "correct.npz", "encoder.pt",
    }  # fmt: skip
    copy = client.download_artifacts(children["t0000"].info.run_id, "encoder.pt", str(tmp_path))
    assert Path(copy).read_bytes() == b"weights of t0000"
    (used,) = client.get_run(children["c0000"].info.run_id).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("digits", "0123456789abcdef")


@pytest.mark.usefixtures("whole")
def test_the_parent_says_question_answer_and_how_good_the_search_became(client: MlflowClient) -> None:
    parent, _ = found(client, "whole")
    note = parent.data.tags["mlflow.note.content"]
    assert "viewStateShareKey=" in note.splitlines()[0]
    assert "does it resume?" in note
    assert "## Verdicts" in note
    assert points(client, parent, "best.search") == [
        (1, pytest.approx(0.3)),
        (2, pytest.approx(0.3)),
        (3, pytest.approx(0.3)),
        (4, pytest.approx(0.3)),
    ]


@pytest.mark.usefixtures("whole")
def test_the_views_of_an_experiment_find_the_runs_of_their_stage(client: MlflowClient) -> None:
    experiment = client.get_experiment_by_name("whole")
    tags = experiment.tags
    assert tags["mlflow.note.content"].startswith("does it resume?\n")
    assert tags["mlflow.experiment.primaryMetric.name"] == "probe.h.val"
    views = [json.loads(value) for key, value in tags.items() if key.startswith("mlflow.sharedViewState.")]
    counts = {}
    for view in views:
        state = json.loads(view["state"])
        order = f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"
        runs = client.search_runs([experiment.experiment_id], state["searchFilter"], order_by=[order])
        assert len({run.data.tags["stage"] for run in runs}) == 1
        counts[view["name"]] = len(runs)
    assert counts == {"whole: search, best first": 4, "whole: confirm, mean of each arm": 12}


@pytest.mark.usefixtures("whole")
def test_the_filters_of_the_documentation_find_what_they_say(client: MlflowClient) -> None:
    table = (Path(__file__).parents[2] / "docs" / "mlflow.md").read_text().partition("## Filters")[2]
    rows = re.findall(r"^\| (.+) \| (`{1,2})(.+?)\2(?:,.*)? \|$", table.partition("\n## ")[0], re.MULTILINE)
    place = client.get_experiment_by_name("whole").experiment_id
    counts = {what: len(client.search_runs([place], text)) for what, _, text in rows}
    assert len(counts) == 9
    assert counts["the search"] == 4
    assert counts["the confirmation"] == 12
    assert counts["what was stopped early, collapsed, or failed"] == 1
    assert counts["sweeps without their trials"] == 1


@pytest.mark.usefixtures("whole")
def test_the_best_of_confirmation_are_models_with_their_scores(client: MlflowClient) -> None:
    _, children = found(client, "whole")
    place = client.get_experiment_by_name("whole").experiment_id
    models = {model.tags["ablate.trial"]: model for model in client.search_logged_models([place])}
    trained = {trial for trial, run in children.items() if run.data.tags["arm"] in ("best", "simclr")}
    assert models.keys() == {trial for trial in trained if trial.startswith("c")}, "and no control"
    for trial, model in models.items():
        run = children[trial]
        assert (model.source_run_id, model.status) == (run.info.run_id, "READY")
        assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
        (score,) = model.metrics
        assert (score.key, score.value) == ("probe.h.test", run.data.metrics["probe.h.test"])
        assert (score.dataset_name, score.dataset_digest) == ("digits", "0123456789abcdef")
        (file,) = client.list_logged_model_artifacts(model.model_id)
        assert file.path == "encoder.pt"
        assert "encoder.pt" not in artifacts(client, run), "the weights are kept once"


def test_a_server_without_models_gets_the_encoders_as_artifacts(
    runs: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_such_endpoint(*_: Any, **__: Any) -> None:
        raise MlflowException("404", error_code=ENDPOINT_NOT_FOUND)

    monkeypatch.setattr(MlflowClient, "search_logged_models", no_such_endpoint)
    folder = Made("second").search().confirm(cut=4).write(runs / "second")
    with caplog.at_level(logging.WARNING, "ablate.tracking"):
        assert Mirror(folder).close()
    assert sum("older than 3" in record.message for record in caplog.records) == 1
    _, children = found(client, "second")
    assert "encoder.pt" in artifacts(client, children["c0000"])


def test_what_people_wrote_into_an_experiment_stays(runs: Path, client: MlflowClient) -> None:
    place = client.create_experiment(
        "ours", artifact_location=(runs / "artifacts").as_uri(), tags={"mlflow.note.content": "mine"}
    )
    folder = Made("ours").search().end().write(runs / "ours")
    assert Mirror(folder).close()
    tags = client.get_experiment(place).tags
    (view,) = [key for key in tags if key.startswith("mlflow.sharedViewState.") and key.endswith("-search")]
    client.set_experiment_tag(place, view, "changed by hand")
    (folder / "tracking.json").unlink()
    assert catch_up(folder)
    tags = client.get_experiment(place).tags
    assert (tags["mlflow.note.content"], tags[view]) == ("mine", "changed by hand")


def test_the_machine_is_watched_also_while_the_store_is_away(
    runs: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_module, "_INTERVAL", 0.0)
    folder = Made("watched").search().end().write(runs / "watched")
    away = {"left": 2}
    real = find_store(runs).client

    def client_or_not(_: Store) -> MlflowClient:
        away["left"] -= 1
        if away["left"] >= 0:
            raise ConnectionError("away")
        return real()

    monkeypatch.setattr(Store, "client", client_or_not)
    assert Mirror(folder).close()
    parent, _ = found(client, "watched")
    samples = points(client, parent, "system/system_memory_usage_percentage")
    assert len(samples) == 3, "two of them from before the store could be reached"


def test_a_lost_mark_repeats_nothing(whole: Path, client: MlflowClient) -> None:
    (whole / "tracking.json").unlink()
    assert catch_up(whole)
    assert_all_once(client, Made("whole").search().confirm(), "whole")


class Killed(BaseException):
    """Not an Exception, so the mirror dies of it as of a signal, without a chance to tidy up."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_killed_after_any_call_and_begun_again_everything_is_there_once(
    runs: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new mirror every few calls to MLflow, each killed in mid-work, before or after the call arrived."""
    made = Made("killed").search().confirm(cut=4)
    folder = made.write(runs / "killed")
    calls = {"left": 0, "before": 0}

    def dying(method: Any, before: bool) -> Any:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            calls["left"] -= 1
            if calls["left"] == 0 and before:
                raise Killed
            result = method(self, *args, **kwargs)
            if calls["left"] == 0:
                raise Killed
            return result

        return call

    written = [(MlflowClient, name) for name in (
        "create_run", "log_batch", "log_inputs", "set_terminated", "create_logged_model", "log_outputs",
        "log_model_artifact", "finalize_logged_model", "set_experiment_tag", "set_tag",
    )] + [(LocalArtifactRepository, "log_artifact")]  # fmt: skip
    for life in range(100):
        calls["left"] = 2 + life
        with monkeypatch.context() as patched:
            for owner, name in written:
                patched.setattr(owner, name, dying(getattr(owner, name), life % 2 == 0))
            mirror = Mirror(folder)
            complete = mirror.close()
        mirror._lock.release(force=True)  # a real kill would have
        if complete:
            break
    assert complete
    assert life > 5
    assert_all_once(client, made, "killed")
    place = client.get_experiment_by_name("killed").experiment_id
    models = client.search_logged_models([place])
    assert len(models) == len({m.source_run_id for m in models}) == 2


def test_a_failed_trial_that_was_run_again_is_shown_as_it_ended_then(
    runs: Path, client: MlflowClient
) -> None:
    made = Made("again").search().end()
    folder = made.write(runs / "again")
    assert Mirror(folder).close()
    parent, children = found(client, "again")
    assert (parent.info.status, children["t0003"].info.status) == ("FINISHED", "FAILED")

    append(folder, [{"event": "retried", "trial": "t0003", "epoch": 0}])
    assert Mirror(folder).close()
    parent, children = found(client, "again")
    assert (parent.info.status, children["t0003"].info.status) == ("KILLED", "KILLED"), "it waits for resume"

    metrics = {"probe.h.val": 0.9, "loss": 1.0}
    append(folder, [
        {"event": "resumed", "fence": 2, "made_by": {}, "epochs": {"t0003": 0}, "changes": {}},
        {"event": "started", "trial": "t0003", "slot": "s0", "fence": 2},
        {"event": "reported", "trial": "t0003", "epoch": 1, "metrics": metrics},
        {"event": "finished", "trial": "t0003", "state": "COMPLETE", "reason": "", "epochs": 1,
         "metrics": metrics},
        {"event": "ended", "reason": "", "states": {}},
    ])  # fmt: skip
    assert Mirror(folder).close()
    parent, children = found(client, "again")
    assert (parent.info.status, children["t0003"].info.status) == ("FINISHED", "FINISHED")
    assert children["t0003"].data.tags["state"] == "COMPLETE"
    assert children["t0003"].data.metrics["probe.h.val"] == 0.9


def test_an_interrupted_sweep_is_shown_as_such_and_goes_on_when_resumed(
    runs: Path, client: MlflowClient
) -> None:
    made = Made("cut").search().confirm()
    cut = next(i for i, e in enumerate(made.events) if e.get("trial") == "c0005" and e["event"] == "reported")
    rest, made.events = made.events[cut + 1 :], made.events[: cut + 1]
    folder = made.write(runs / "cut")
    assert Mirror(folder).close()
    parent, children = found(client, "cut")
    assert parent.info.status == children["c0005"].info.status == "KILLED"

    resumed = {"event": "resumed", "fence": 2, "made_by": {}, "epochs": {"c0005": 0}, "changes": {}}
    again = [e for e in made.events if e.get("trial") == "c0005" and e["event"] in ("started", "reported")]
    append(folder, [resumed, *again])
    mirror = Mirror(folder)
    append(folder, rest)
    assert mirror.close()
    assert_all_once(client, Made("cut").search().confirm(), "cut")


def test_a_busy_mirror_is_left_alone(runs: Path) -> None:
    folder = Made("busy").search().write(runs / "busy")
    with FileLock(folder / "tracking.lock"):
        assert not catch_up(folder)
    assert not (folder / "tracking.json").exists()


def test_the_store_is_the_uri_or_the_environment_or_beside_the_sweeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert find_store(Path("r")).uri == f"sqlite:///{tmp_path}/r/mlflow.db"
    assert find_store(Path("r")).artifacts == tmp_path / "r" / "mlflow-artifacts"
    assert find_store(Path("r"), "sqlite:///other.db").uri == f"sqlite:///{tmp_path}/other.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert find_store(Path("r")).uri == "http://host:5000"
    assert find_store(Path("r"), "sqlite:///other.db").uri == f"sqlite:///{tmp_path}/other.db"
    with pytest.raises(TrackingError, match="allowed are"):
        find_store(Path("r"), "./mlruns")


def test_a_password_is_not_written_into_a_sweep() -> None:
    for uri in (None, "http://host:5000", "sqlite:///a.db", "postgresql://me@host/mlflow"):
        check_recordable(uri)
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI") as raised:
        check_recordable("postgresql://me:secret@host/mlflow")
    assert "secret" not in str(raised.value)


def test_telemetry_is_off() -> None:
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


@pytest.mark.parametrize(
    ("error", "patience"), [(None, 60.0), (OSError, 60.0), (KeyboardInterrupt, 5.0), (SystemExit, 5.0)]
)
def test_whoever_ends_a_sweep_by_a_signal_does_not_wait_for_a_slow_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException] | None, patience: float
) -> None:
    given: list[float] = []
    monkeypatch.setattr(Mirror, "_run", lambda _: None)
    monkeypatch.setattr(Mirror, "close", lambda _, timeout: given.append(timeout))
    with contextlib.suppress(OSError, KeyboardInterrupt, SystemExit), Mirror(tmp_path / "sweep"):
        if error is not None:
            raise error
    assert given == [patience]


def test_a_dead_server_neither_blocks_nor_loses_and_its_pages_show_all_when_back(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server is `ablate ui` itself, on the port where nobody answered before."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    made = Made("away").search().confirm()
    folder = made.write(runs / "away")
    with caplog.at_level(logging.WARNING, "ablate.tracking"):
        assert not Mirror(folder, uri).close()
    said = [r.message for r in caplog.records]
    assert sum("cannot be written to" in line for line in said) == 1
    assert sum("Nothing is lost" in line for line in said) == 1
    assert not (folder / "tracking.json").exists()

    served = tmp_path / "served"
    served.mkdir()
    shutil.copy(runs / "mlflow.db", served / "mlflow.db")  # saves the seconds of making another store
    with serving_ui(served, port):
        page = urllib.request.urlopen(uri, timeout=10).read()
        assert b"<title>MLflow</title>" in page
        assert Mirror(folder, uri).close()
        remote = MlflowClient(uri)
        assert_all_once(remote, made, "away")
        _, children = found(remote, "away")
        assert "encoder.pt" in artifacts(remote, children["t0000"])
    assert list((served / "mlflow-artifacts").rglob("encoder.pt"))
