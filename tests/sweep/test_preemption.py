"""A node is to be taken away: who says so, what trials then do, and that it changes none of their numbers."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any, ClassVar

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ablate.ledger import Ledger
from ablate.search import MAX_ABANDONED, replay
from ablate.spec.sweep import SweepSpec
from ablate.spec.trial import TrialSpec
from ablate.sweep import gang
from ablate.sweep.driver import Driver
from ablate.sweep.housekeeping import collect
from ablate.sweep.messages import (
    Checkpointed,
    Close,
    Command,
    Ended,
    Failed,
    Finish,
    Interrupted,
    Noticed,
    Preempted,
    Reply,
    Reported,
    Request,
    Save,
    SlotPlan,
    Start,
    Step,
    Stepped,
    Verdict,
    Work,
)
from ablate.sweep.preemption import AwsNotice, GcpNotice, Notices, source_of
from ablate.sweep.slot import carry_out
from ablate.sweep.worker import ASKED, Worker
from ablate.train import World
from ablate.trial import Checkpoint, TrialRun
from tests.sweep.fakes import sweep

HOST = socket.gethostname()

# --- who says so -----------------------------------------------------------------------------------------


class Metadata:
    """A metadata service on this machine, as far as notices go; ``answer(method, path, headers)`` gives
    status, text and headers."""

    def __init__(
        self, answer: Callable[[str, str, Mapping[str, str]], tuple[int, str, dict[str, str]]]
    ) -> None:
        asked = self.asked = []  # type: list[str]

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                asked.append(f"{self.command} {self.path}")
                status, text, headers = answer(self.command, self.path, self.headers)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_PUT = _answer

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(autouse=True)
def behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """That leads nowhere."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")


@pytest.fixture
def aws() -> Iterator[tuple[Metadata, dict[str, Any]]]:
    """Its tokens are numbered, and ``state["valid"]`` is."""
    state: dict[str, Any] = {"valid": 0, "action": None}

    def answer(method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str, dict[str, str]]:
        if (method, path) == ("PUT", "/latest/api/token"):
            assert int(headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
            state["valid"] += 1
            return 200, str(state["valid"]), {}
        if headers.get("X-aws-ec2-metadata-token") != str(state["valid"]):
            return 401, "", {}
        if path == "/latest/meta-data/spot/instance-action" and state["action"]:
            return 200, json.dumps(state["action"]), {}
        if path == "/latest/meta-data/events/recommendations/rebalance":
            return 200, json.dumps({"noticeTime": "2026-11-22T08:22:00Z"}), {}
        return 404, "", {}

    service = Metadata(answer)
    yield service, state
    service.server.shutdown()


def test_aws_is_asked_with_a_token_that_is_renewed_and_a_recommendation_is_no_notice(
    aws: tuple[Metadata, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, state = aws
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://{service.host}/")
    ask = source_of("aws")
    assert [ask(), ask()] == ["", ""]
    assert state["valid"] == 1, "one token serves for many questions"
    state["valid"] = 7  # it has run out
    state["action"] = {"action": "terminate", "time": "2026-11-22T08:22:00Z"}
    assert ask() == "AWS will terminate it at 2026-11-22T08:22:00Z"
    assert {path.split()[1] for path in service.asked} == {
        "/latest/api/token",
        "/latest/meta-data/spot/instance-action",
    }


def test_google_is_asked_as_it_wants_to_be_and_nobody_else_is_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = {"text": "FALSE", "flavor": "Google"}

    def answer(_method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str, dict[str, str]]:
        assert path == "/computeMetadata/v1/instance/preempted"
        if headers.get("Metadata-Flavor") != "Google":
            return 403, "", {}
        return 200, said["text"], {"Metadata-Flavor": said["flavor"]}

    service = Metadata(answer)
    monkeypatch.setenv("GCE_METADATA_HOST", service.host)
    ask = source_of("gcp")
    assert ask() == ""
    said["text"] = "TRUE\n"
    assert ask() == "Google Cloud takes it back now"
    said["flavor"] = "a captive portal"
    with pytest.raises(OSError, match="no metadata server"):
        ask()
    service.server.shutdown()


@pytest.mark.parametrize("make", [AwsNotice, lambda host: GcpNotice(host.removeprefix("http://"))])
def test_a_service_that_is_not_there_is_no_notice_but_an_error(make: Callable[[str], Any]) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="refused"):
            make(f"http://127.0.0.1:{taken.getsockname()[1]}")()


def test_a_file_is_a_notice_while_it_is_there(tmp_path: Path) -> None:
    file = tmp_path / "notice"
    ask = source_of(f"file:{file}")
    assert ask() == ""
    file.touch()
    assert ask() == f"{file} appeared"
    file.write_text("slurm wants\nthe node back\n")
    assert ask() == "slurm wants the node back"
    file.unlink()
    assert ask() == ""


@pytest.mark.parametrize("word", ["azure", "AWS", "file:", "file:relative/notice", "gcp:host"])
def test_any_other_word_is_refused_with_those_that_there_are(word: str) -> None:
    with pytest.raises(ValueError, match=r"ABLATE_PREEMPTION is .*; it may be aws, gcp, or file:"):
        source_of(word)


def test_nobody_is_asked_unless_the_environment_says_whom(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ABLATE_PREEMPTION", raising=False)
    threads = threading.active_count()
    assert Notices.of("a").standing() == {}
    assert threading.active_count() == threads
    (tmp_path / "notice").write_text("going")
    monkeypatch.setenv("ABLATE_PREEMPTION", f"file:{tmp_path}/notice")
    assert Notices.of("a").standing() == {"a": f"{HOST}: going"}, "the first look is over at once"


class Script:
    """Says what the test says, when it says it."""

    def __init__(self) -> None:
        self._asked: Queue[None] = Queue()
        self._answers: Queue[str | Exception] = Queue()

    def __call__(self) -> str:
        self._asked.put(None)
        answer = self._answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def says(self, answer: str | Exception) -> None:
        self._answers.put(answer)

    def asked(self) -> None:
        """Wait until it is asked once more: what it said before has arrived."""
        self._asked.get(timeout=30)


def test_a_notice_stands_until_it_is_known_to_be_withdrawn() -> None:
    script = Script()
    script.says("going")
    notices = Notices("a", script, every=0.01)
    script.asked()
    script.asked()
    script.says(OSError("no answer"))
    script.asked()
    assert notices.standing() == {"a": f"{HOST}: going"}
    assert notices.trouble == "OSError: no answer"
    script.says("")
    script.asked()
    assert (notices.standing(), notices.trouble) == ({}, "")
    notices.hear({"b": "b: going"})
    assert notices.standing() == {"b": "b: going"}


def test_a_rank_hears_of_notices_out_of_turn_and_ends_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Letters:
        said: ClassVar[list[Any]] = [Noticed({"slot's node": "going"}), Noticed({"b": "too"}), Close()]

        def take(self, address: str) -> list[tuple[int, Any]]:
            assert address == "gang/0/out-of-turn"
            return [(0, self.said.pop(0))]

    ended: list[int] = []
    monkeypatch.setattr(gang.os, "_exit", ended.append)
    notices = Notices("a", None)
    gang._listen(Letters(), "gang/0/out-of-turn", notices)  # type: ignore[arg-type]
    assert notices.standing() == {"slot's node": "going", "b": "too"}
    assert ended == [1]


# --- a trial is left within its epoch, and goes on as if it had not been ---------------------------------

EPOCHS, STEPS = 2, 4


def spec() -> TrialSpec:
    return TrialSpec.model_validate(
        {
            "data": {"kind": "digits", "train": 160, "test": 40},
            "encoder": {"kind": "tiny-resnet", "width": 4, "blocks": [1, 1]},
            "measure": {"probe_l2": [0.1]},
            "head": {"kind": "mlp", "hidden": 32, "out": 16},
            "optim": {"kind": "sgd", "epochs": EPOCHS, "batch": 32, "lr": 0.3},
        }
    )


def plan(folder: Path, make_trial: Callable[..., Any] | None = None) -> SlotPlan:
    return SlotPlan(
        post="post",
        sweep="preempted",
        run="run",
        workers=1,
        cpus=1,
        gpus=0,
        checkpoint_every=1,
        stall=600.0,
        max_trials=100,
        max_growth=2**30,
        cache=folder,
        scratch=folder / ".ray",
        working_directory=folder,
        make_trial=make_trial,
    )


class Node:
    """A worker whose node is noticed once its trial has taken so many steps; None: never."""

    def __init__(self, folder: Path, after: int | None, world: World | None = None) -> None:
        self._after, self._trial = after, None  # type: tuple[int | None, Any]
        self.worker = Worker(
            plan(folder, self._make), world or World.single(), "slot-0", "node", None, self._notices
        )

    def _make(self, *args: Any, **seam: Any) -> TrialRun:
        self._trial = TrialRun(*args, **seam)
        return self._trial

    def _notices(self) -> dict[str, str]:
        due = self._trial is not None and self._after is not None and self._trial.progress >= self._after
        return {"node": "it goes"} if due else {}

    def execute(self, _trial: str, command: Command) -> Any:
        answer = self.worker.run(command)
        assert not isinstance(answer, Failed), answer
        return answer


def numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name != "views_per_second"}


def weights(folder: Path) -> list[str]:
    return [hashlib.sha256((folder / f"{part}.pt").read_bytes()).hexdigest() for part in ("encoder", "head")]


def hand_out(folder: Path, name: str, checkpoint: Checkpoint | None = None, number: int = 1) -> Work:
    return Work(name, spec(), "search", "search", folder / name, checkpoint, 1, hand_out=number)


def run(node: Node, work: Work) -> list[Request]:
    """What the slot says of it to a desk that always says to go on."""
    said: list[Request] = []

    def ask(request: Request) -> Reply:
        said.append(request)
        return Verdict.GO

    assert carry_out(work, node.execute, ask, every=1) is Verdict.GO
    return said


def curve(said: list[Request]) -> list[Any]:
    found: list[Any] = [(r.epoch, numbers(r.metrics)) for r in said if isinstance(r, Reported)]
    return found + [(r.state, numbers(r.metrics)) for r in said if isinstance(r, Ended)]


@pytest.mark.parametrize("after", [1, 3, STEPS, STEPS + 2])
def test_a_preempted_trial_ends_as_one_that_nobody_disturbed(tmp_path: Path, after: int) -> None:
    whole = run(Node(tmp_path, None), hand_out(tmp_path, "whole"))
    first = run(Node(tmp_path, after), hand_out(tmp_path, "cut"))
    *_, saved, left = first
    assert left == Preempted("cut", {"node": "it goes"})
    assert isinstance(saved, Checkpointed)
    assert (saved.checkpoint.epoch, saved.checkpoint.step) == divmod(after, STEPS)
    assert Path(saved.checkpoint.path).is_relative_to(tmp_path / "cut" / "1-1")
    second = run(Node(tmp_path, None), hand_out(tmp_path, "cut", saved.checkpoint, 2))
    assert curve(first) + curve(second) == curve(whole)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    title = (tmp_path / "cut/log.txt").read_text().splitlines()[-1]
    assert f"cut after {saved.checkpoint.position}, slot-0" in title


def test_what_is_saved_already_or_has_not_begun_is_not_saved_again(tmp_path: Path) -> None:
    at_once = run(Node(tmp_path, 0), hand_out(tmp_path, "at-once"))
    assert at_once == [Preempted("at-once", {"node": "it goes"})]
    between = run(Node(tmp_path, STEPS), hand_out(tmp_path, "between"))
    assert [type(request) for request in between] == [Reported, Checkpointed, Preempted]


def test_a_trial_that_was_stopped_meanwhile_is_not_given_back(tmp_path: Path) -> None:
    said: list[Request] = []

    def ask(request: Request) -> Reply:
        said.append(request)
        return Verdict.STOP

    node = Node(tmp_path, 2)
    assert carry_out(hand_out(tmp_path, "stopped"), node.execute, ask, every=1) is Verdict.GO
    assert [type(request) for request in said] == [Checkpointed]


def _rank(rank: int, folder: str) -> None:
    """One rank's lock-step; a notice reaches rank 1 alone, and rank 0 alone writes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    world, root = World.from_process_group(), Path(folder)
    found: dict[str, Any] = {"curves": {}}
    for name, after in (("whole", None), ("cut", 2)):
        node = Node(root, after if rank == 1 else None, world)
        work = hand_out(root, name)
        rows: list[Any] = []
        assert node.execute(name, Start(work)) is False
        while True:
            answer = node.execute(name, Step())
            if isinstance(answer, Interrupted):
                saved = node.execute(name, Save(work.checkpoints))
                everyones: list[Any] = [saved]
                dist.broadcast_object_list(everyones)
                found[f"step of rank {rank}"] = (everyones[0].epoch, everyones[0].step)
                found["notices"] = dict(answer.notices)
                node = Node(root, None, world)
                assert node.execute(name, Start(replace(work, checkpoint=everyones[0], hand_out=2))) is False
                continue
            assert isinstance(answer, Stepped)
            rows.append((answer.epoch, numbers(answer.metrics)))
            if answer.done:
                break
        rows.append(numbers(node.execute(name, Finish())))
        found["curves"][name] = rows
    torch.save(found, root / f"found-{rank}.pt")
    dist.destroy_process_group()


def test_a_notice_to_one_rank_has_both_stand_still_at_the_same_step(tmp_path: Path) -> None:
    mp.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"found-{rank}.pt", weights_only=False) for rank in range(2))
    assert (first["notices"], second["notices"]) == ({}, {"node": "it goes"})
    assert first["step of rank 0"] == second["step of rank 1"]
    epoch, step = first["step of rank 0"]
    assert 2 <= epoch * STEPS + step <= 2 + 2 * ASKED
    assert step > 0, "within an epoch, or else this shows nothing"
    assert first["curves"]["cut"] == first["curves"]["whole"]
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


# --- what the ledger makes of it -------------------------------------------------------------------------


def saved(work: Any, epoch: int, step: int = 0) -> Checkpoint:
    path = work.folder / str(work.fence) / f"{epoch}-{step}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("weights")
    return Checkpoint(epoch, str(path), f"digest {epoch}-{step}", step)


def given(driver: Driver, slot: str = "a") -> Any:
    assignment = driver.next(slot)
    assert assignment is not None
    return assignment


def report(driver: Driver, trial: str, epoch: int, value: float) -> None:
    driver.reported(trial, epoch, {"probe.h.val": value})


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """Of a search that stops nothing, and keeps the best checkpoint too."""
    whole = sweep("within", trials=2, keep=["best", "last"]).as_dict()
    whole["search"] |= {"scheduler": {"kind": "none"}}
    with Driver(SweepSpec.model_validate(whole), tmp_path) as driver:
        yield driver
    ledger = Ledger.read(driver.path)
    state = replay(ledger)  # whatever the test did: it is decided the same again
    assert state.trials.keys() >= {"t0000"}


def test_preemptions_are_no_deaths_however_many(driver: Driver) -> None:
    for _ in range(MAX_ABANDONED + 2):
        work = given(driver)
        assert work.trial == "t0000"
        driver.abandoned(work.trial, "preemption notice: it goes", preempted=True)
    for _ in range(MAX_ABANDONED):
        driver.abandoned(given(driver).trial, "killed")
    assert given(driver).trial == "t0000"
    driver.abandoned("t0000", "killed")
    [failed] = [e for e in Ledger.read(driver.path) if e["event"] == "finished"]
    assert (failed["trial"], failed["state"]) == ("t0000", "FAILED")


def test_a_trial_goes_on_within_its_epoch_and_reports_that_epoch_next(driver: Driver) -> None:
    work = given(driver)
    report(driver, work.trial, 1, 0.5)
    driver.checkpointed(work.trial, saved(work, 1, 3))
    driver.abandoned(work.trial, "preemption notice: it goes", preempted=True)
    again = given(driver)
    assert (again.checkpoint.epoch, again.checkpoint.step) == (1, 3)
    report(driver, work.trial, 2, 0.6)
    driver.checkpointed(work.trial, after := saved(work, 2))
    assert not Path(again.checkpoint.path).exists(), "superseded"
    assert Path(after.path).exists()


def test_the_first_epoch_is_not_lost_either(driver: Driver) -> None:
    work = given(driver)
    driver.checkpointed(work.trial, within := saved(work, 0, 4))
    driver.abandoned(work.trial, "preemption notice: it goes", preempted=True)
    assert given(driver).checkpoint == within
    driver.abandoned(work.trial, "killed")
    Path(within.path).unlink()
    assert given(driver).checkpoint is None, "and if it is gone, the trial starts again"
    report(driver, work.trial, 1, 0.5)


def test_weights_within_an_epoch_are_never_the_best_and_the_epochs_own_serve_where_they_are_gone(
    driver: Driver,
) -> None:
    work = given(driver)
    report(driver, work.trial, 1, 0.9)
    driver.checkpointed(work.trial, best := saved(work, 1))
    driver.checkpointed(work.trial, within := saved(work, 1, 2))
    assert Path(best.path).exists(), "kept: it is the best"
    Path(within.path).unlink()
    driver.abandoned(work.trial, "killed")
    again = given(driver)
    assert again.checkpoint == best
    for epoch in (2, 3):
        report(driver, work.trial, epoch, 0.1)
        driver.checkpointed(work.trial, saved(work, epoch))
    report(driver, work.trial, 4, 0.1)
    driver.ended(work.trial, "COMPLETE", "", {})
    assert Path(best.path).exists()
    kept = {path.name for path in Path(best.path).parent.iterdir()}
    assert kept == {"1-0.pt", "3-0.pt"}


def test_a_checkpoint_within_an_epoch_is_needed_until_it_is_not(driver: Driver) -> None:
    work = given(driver)
    driver.checkpointed(work.trial, within := saved(work, 0, 2))
    folder = work.folder / "1-1"
    folder.mkdir()
    (folder / "epoch-0001.pt").write_text("of a slot that was cut off, and never recorded")
    driver.close()
    found = {item.path for item in collect(driver.folder, delete=True).items}
    assert found == {folder / "epoch-0001.pt"}
    assert Path(within.path).exists()
    assert not folder.exists()


def test_a_new_member_of_a_population_may_be_preempted_in_its_first_epoch(tmp_path: Path) -> None:
    spec = sweep("members", trials=4, epochs=6).as_dict()
    spec["search"] |= {"scheduler": {"kind": "pbt", "every": 2, "mutate": ["optim.lr"]}}
    with Driver(SweepSpec.model_validate(spec), tmp_path) as driver:
        for value in range(4):
            work = given(driver)
            for epoch in (1, 2):
                report(driver, work.trial, epoch, value / 10)
            driver.checkpointed(work.trial, saved(work, 2))
        [child] = [e["trial"] for e in Ledger.read(driver.path) if e["event"] == "asked" and e["parent"]]
        slots = (f"slot-{number}" for number in range(100))
        work = next(w for w in (given(driver, slot) for slot in slots) if w.trial == child)
        start = work.checkpoint
        assert (start.epoch, start.step) == (2, 0)
        driver.checkpointed(work.trial, within := saved(work, 2, 3))
        driver.abandoned(work.trial, "preemption notice: it goes", preempted=True)
        again = next(w for w in (given(driver, slot) for slot in slots) if w.trial == child)
        assert again.checkpoint == within
        report(driver, work.trial, 3, 0.5)
        driver.checkpointed(work.trial, saved(work, 3))
        assert not Path(within.path).exists(), "its own, and superseded"
        assert Path(start.path).exists(), "its parent's, which it may have to start from again"
    replay(Ledger.read(driver.path))
