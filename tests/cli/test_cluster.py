"""`ablate cluster`: what it asks of a cluster, of whatever kind, and of the user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from ablate.cli import app
from ablate.cluster.kind import ClusterError, Submission
from ablate.cluster.remembered import recall
from tests.cluster.fakes import SWEEP, write


@dataclass
class FakeCluster:
    """Writes down what is asked of it. ``fails``: the method that does."""

    asked: list[Any] = field(default_factory=list)
    fails: str = ""
    printed: Sequence[str] = ()
    interrupted: bool = False

    def ask(self, *words: Any) -> None:
        self.asked.append(words)
        if words[0] == self.fails and words[1:] != (True,):  # a dry run finds nothing wrong
            raise ClusterError(f"{self.fails} is impossible")

    def up(self, *, dry_run: bool) -> None:
        self.ask("up", dry_run)

    def down(self, *, dry_run: bool) -> None:
        self.ask("down", dry_run)

    def status(self) -> str:
        self.ask("status")
        return "two nodes"

    def submit(self, submission: Submission, *, dry_run: bool) -> str:
        self.ask("submit", submission, dry_run)
        return "tiny-1"

    def logs(self, name: str, *, follow: bool) -> Iterator[str]:
        self.ask("logs", name, follow)
        yield from self.printed
        if self.interrupted:
            raise KeyboardInterrupt


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """What every cluster file is, read in the folder of a project."""
    fake = FakeCluster()

    def read_cluster(path: Path, sets: Sequence[str] = ()) -> FakeCluster:
        if path.name == "wrong.yaml":
            raise ClusterError("wrong.yaml:1:1: unknown key")
        fake.asked.append(("read", path.name, *sets))
        return fake

    monkeypatch.setattr("ablate.cluster.files.read_cluster", read_cluster)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    write(tmp_path / "project" / "sweep.yaml", SWEEP)
    return fake


def call(*words: str, answer: str = "") -> Result:
    return CliRunner().invoke(app, ["cluster", *words], input=answer)


@pytest.mark.parametrize("command", ["up", "down"])
@pytest.mark.parametrize(
    ("words", "answer", "status", "asked"),
    [
        (["--dry-run"], "", 0, [True]),
        (["--dry-run", "--yes"], "", 0, [True]),
        (["--yes"], "", 0, [True, False]),
        ([], "y\n", 0, [True, False]),
        ([], "n\n", 1, [True]),
        ([], "", 1, [True]),
    ],
)
def test_up_and_down_say_what_they_would_do_and_ask_first(
    cluster: FakeCluster, command: str, words: list[str], answer: str, status: int, asked: list[bool]
) -> None:
    result = call(command, "c.yaml", *words, answer=answer)
    assert result.exit_code == status, result.output
    assert cluster.asked[1:] == [(command, dry_run) for dry_run in asked]


def test_what_up_was_told_holds_until_down_unless_something_else_is_said(cluster: FakeCluster) -> None:
    def read() -> Any:
        return [asked[1:] for asked in cluster.asked if asked[0] == "read"][-1]

    call("up", "c.yaml", "--set", "max_workers=2", "--dry-run")
    call("status", "c.yaml")
    assert read() == ("c.yaml",)
    call("up", "c.yaml", "--set", "max_workers=2", "--set", "a.b=c", "--yes")
    told = call("status", "c.yaml")
    assert read() == ("c.yaml", "max_workers=2", "a.b=c")
    assert told.stdout == "two nodes\n"
    assert told.stderr == "c.yaml as it was brought up: --set max_workers=2 --set a.b=c\n"
    for words in (
        ["submit", "c.yaml", "sweep.yaml"],
        ["logs", "c.yaml", "tiny"],
        ["down", "c.yaml", "--dry-run"],
    ):
        call(*words)
        assert read() == ("c.yaml", "max_workers=2", "a.b=c")
    call("up", "c.yaml", "--yes")
    assert read() == ("c.yaml", "max_workers=2", "a.b=c")
    call("logs", "c.yaml", "tiny", "--set", "a.b=d")
    assert read() == ("c.yaml", "a.b=d")
    call("submit", "c.yaml", "sweep.yaml", "--set-cluster", "a.b=e")
    assert read() == ("c.yaml", "a.b=e")
    call("down", "c.yaml", "--yes")
    call("status", "c.yaml")
    assert read() == ("c.yaml",)


def test_a_cluster_that_failed_to_come_up_or_to_go_is_not_forgotten(cluster: FakeCluster) -> None:
    cluster.fails = "up"
    result = call("up", "c.yaml", "--set", "a=1", "--yes")
    assert (result.exit_code, result.stderr) == (1, "up is impossible\n")
    cluster.fails = "down"
    assert call("down", "c.yaml", "--yes").exit_code == 1
    assert recall(Path("c.yaml")) == ("a=1",)


def test_submit_hands_the_sweep_on_and_follows_it(cluster: FakeCluster) -> None:
    cluster.printed = ["one\ntw", "o\n"]
    result = call(
        "submit",
        "c.yaml",
        "sweep.yaml",
        "--trials",
        "5",
        "--set",
        "resources.cpus=2",
        "--storage",
        "s3://b/x",
    )
    assert result.exit_code == 0, result.output
    [(_, sent, dry_run)] = [asked for asked in cluster.asked if asked[0] == "submit"]
    assert sent == Submission(
        "tiny",
        Path.cwd(),
        Path("sweep.yaml"),
        "~/ablate-runs",
        "s3://b/x",
        ("resources.cpus=2", "search.trials=5"),
    )
    assert not dry_run
    assert cluster.asked[-1] == ("logs", "tiny", True)
    assert result.stdout == (
        "tiny-1 is sent; to come back to it: ablate cluster logs c.yaml tiny --follow\none\ntwo\n"
    )


@pytest.mark.parametrize(
    ("words", "runs"),
    [(["c.yaml"], "~/ablate-runs"), (["c.sbatch"], "runs"), (["c.yaml", "--runs", "/shared"], "/shared")],
)
def test_where_runs_lie_is_up_to_the_kind_of_cluster_and_the_user(
    cluster: FakeCluster, words: list[str], runs: str
) -> None:
    file, *more = words
    assert call("submit", file, "sweep.yaml", "--no-follow", *more).exit_code == 0
    assert cluster.asked[-1][1].runs == runs


def test_a_dry_run_and_no_follow_do_no_more_than_they_say(cluster: FakeCluster) -> None:
    assert call("submit", "c.yaml", "sweep.yaml", "--dry-run").stdout == ""
    assert [asked[0] for asked in cluster.asked] == ["read", "submit"]
    assert call("submit", "c.yaml", "sweep.yaml", "--no-follow").exit_code == 0
    assert [asked[0] for asked in cluster.asked] == ["read", "submit"] * 2


def test_a_project_elsewhere_is_shipped_from_there(cluster: FakeCluster, tmp_path: Path) -> None:
    write(tmp_path / "other" / "sub" / "s.yaml", SWEEP)
    outside = call("submit", "c.yaml", "../other/sub/s.yaml", "--no-follow")
    assert outside.exit_code == 1
    assert f"lies outside of the project {Path.cwd()}" in outside.stderr
    assert cluster.asked == []
    named = call("submit", "c.yaml", "../other/sub/s.yaml", "--no-follow", "--project", "../other")
    assert named.exit_code == 0, named.output
    sent = cluster.asked[-1][1]
    assert (sent.project, sent.file) == (tmp_path / "other", Path("sub/s.yaml"))


def test_mistakes_end_with_status_2_before_any_cluster_is_asked(cluster: FakeCluster) -> None:
    wrong = call("submit", "c.yaml", "sweep.yaml", "--set", "search.trails=3")
    assert wrong.exit_code == 2
    assert "did you mean 'trials'" in wrong.stderr
    for command in (["up"], ["status"], ["down", "--yes"], ["submit", "sweep.yaml"], ["logs", "tiny"]):
        result = call(command[0], "wrong.yaml", *command[1:])
        assert (result.exit_code, result.stderr) == (2, "wrong.yaml:1:1: unknown key\n")
    assert cluster.asked == []


def test_ctrl_c_while_following_says_that_the_sweep_goes_on_and_how_to_come_back(
    cluster: FakeCluster,
) -> None:
    cluster.printed, cluster.interrupted = ["a line\n"], True
    for words in (["submit", "c.yaml", "sweep.yaml"], ["logs", "c.yaml", "tiny", "--follow"]):
        result = call(*words)
        assert result.exit_code == 130
        assert "a line" in result.stdout
        assert "tiny goes on; to come back to it: ablate cluster logs c.yaml tiny --follow" in result.stderr


def test_what_a_cluster_cannot_do_ends_with_status_1_and_its_words(cluster: FakeCluster) -> None:
    cluster.fails = "logs"
    result = call("submit", "c.yaml", "sweep.yaml")
    assert (result.exit_code, result.stderr) == (1, "logs is impossible\n")
