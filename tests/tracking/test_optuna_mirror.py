"""The Optuna study beside a sweep: what the ledger says, followed as it grows, and served on loopback."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request
from pathlib import Path
from typing import Any

import optuna
import pytest
from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from ablate.tracking import TrackingError, optuna_mirror
from ablate.tracking.optuna_mirror import StudyMirror, serve_dashboard
from tests.report.made_sweep import DRAWN, Made, append


def study(folder: Path) -> optuna.Study:
    """As anybody reads it from the file."""
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    return optuna.load_study(study_name="made", storage=storage)


def test_every_search_trial_is_there_as_it_ended(tmp_path: Path) -> None:
    folder = Made().search().confirm().write(tmp_path / "made")
    StudyMirror(folder)
    found = study(folder)
    assert found.direction == optuna.study.StudyDirection.MAXIMIZE
    assert [t.number for t in found.trials] == [0, 1, 2, 3]
    assert [t.state for t in found.trials] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.FAIL,
    ]
    assert [t.params for t in found.trials] == [params for _, params in DRAWN]
    assert found.best_value == pytest.approx(0.3)
    assert found.trials[0].intermediate_values == pytest.approx({1: 0.1, 2: 0.2, 3: 0.3})
    assert found.trials[2].user_attrs == {
        "trial": "t0002",
        "state": "COLLAPSED",
        "reason": "because of COLLAPSED",
    }


def test_it_follows_a_running_sweep_event_by_event_to_the_same_study(tmp_path: Path) -> None:
    made = Made().search()
    folder = tmp_path / "made"
    folder.mkdir()
    append(folder, made.events[:1])
    mirror = StudyMirror(folder)
    for event in made.events[1:]:
        append(folder, [event])
        mirror.update()
    followed = [(t.number, t.state, t.values, t.params, t.user_attrs, t.intermediate_values)
                for t in study(folder).trials]  # fmt: skip
    StudyMirror(folder)
    anew = [(t.number, t.state, t.values, t.params, t.user_attrs, t.intermediate_values)
            for t in study(folder).trials]  # fmt: skip
    assert followed == anew
    assert [state for _, state, *_ in anew].count(TrialState.COMPLETE) == 1


def test_a_running_trial_shows_its_curve_and_a_retried_one_is_there_again(tmp_path: Path) -> None:
    made = Made().search()
    folder = tmp_path / "made"
    folder.mkdir()
    until = next(i for i, e in enumerate(made.events) if e["event"] == "finished")
    append(folder, made.events[:until])
    mirror = StudyMirror(folder)
    assert [(t.state, t.last_step) for t in study(folder).trials] == [(TrialState.RUNNING, 3)]
    append(folder, made.events[until:])
    mirror.update()
    append(folder, [{"event": "retried", "trial": "t0003", "epoch": 0}])
    mirror.update()
    found = [(t.user_attrs["trial"], t.state) for t in study(folder).trials]
    assert found[3] == ("t0003", TrialState.FAIL)
    assert found[4] == ("t0003", TrialState.WAITING)


def test_a_parameter_outside_the_space_is_an_attribute(tmp_path: Path) -> None:
    """PBT may move a learning rate out of the range from which it was drawn first."""
    made = Made().search()
    made.events[1]["params"] = {**made.events[1]["params"], "optim.lr": 9.0}
    folder = made.write(tmp_path / "made")
    StudyMirror(folder)
    first = study(folder).trials[0]
    assert first.params == {"head.kind": "mlp", "head.depth": 3}
    assert first.user_attrs["optim.lr"] == 9.0


def test_a_sweep_of_which_nothing_is_recorded_cannot_be_shown(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "ledger.jsonl").touch()
    with pytest.raises(TrackingError, match="nothing is recorded yet"):
        StudyMirror(tmp_path / "made")


def test_without_optuna_dashboard_the_study_is_written_and_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Made().search().write(tmp_path / "made")
    monkeypatch.setattr(optuna_mirror.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(TrackingError, match="pip install optuna-dashboard"):
        serve_dashboard(folder, 8080)
    assert len(study(folder).trials) == 4


def test_one_dashboard_at_a_time_writes_the_study(tmp_path: Path) -> None:
    folder = Made().search().write(tmp_path / "made")
    with (
        FileLock(folder / "optuna.journal.open"),
        pytest.raises(TrackingError, match="a dashboard of this sweep is open already"),
    ):
        serve_dashboard(folder, 8080)


def test_it_serves_the_study_on_loopback_and_names_another_port_if_that_one_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna_dashboard")
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    folder = Made().search().write(tmp_path / "made")
    served: dict[str, Any] = {}

    def run_one_request(storage: JournalStorage, *, host: str, port: int) -> None:
        """What optuna-dashboard's run_server does, for one request."""
        from optuna_dashboard import wsgi

        class Silent(WSGIRequestHandler):
            def log_message(self, *_: object) -> None: ...

        with make_server(host, port, wsgi(storage), handler_class=Silent) as server:
            thread = threading.Thread(target=server.handle_request)
            thread.start()
            with urllib.request.urlopen(f"http://{host}:{port}/api/studies", timeout=30) as answer:
                served.update(json.loads(answer.read()), host=host, port=port)
            thread.join()

    monkeypatch.setattr("optuna_dashboard.run_server", run_one_request)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        taken = busy.getsockname()[1]
        serve_dashboard(folder, taken)
    assert served["host"] == "127.0.0.1"
    assert served["port"] != taken
    assert [s["study_name"] for s in served["study_summaries"]] == ["made"]
    said = capsys.readouterr().out
    assert f"Port {taken} is busy; taking {served['port']}." in said
