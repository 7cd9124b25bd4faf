"""Clusters of `ray up`: what is said, what Ray's command line is asked, and what is refused before it is."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import pytest

from ablate.cluster import package
from ablate.cluster.files import read_cluster
from ablate.cluster.kind import Cluster, ClusterError, Submission
from ablate.cluster.launcher import stop_hosts
from ablate.cluster.remembered import beside, forget, recall, remember
from ablate.cluster.token import read_token
from ablate.cluster.tunnel import tunnel
from tests.cluster.fakes import AWS, HOSTS, SWEEP, FakeRay, wait_until_gone, write


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, and a home, of somebody who has a project."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    write(tmp_path / "project" / "ablate" / "code.py", "print()\n")
    write(tmp_path / "project" / "sweep.yaml", SWEEP)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay(tmp_path)
    fake.install(monkeypatch)
    return fake


def cluster(project: Path, text: str = HOSTS, *sets: str) -> Cluster:
    return read_cluster(write(project / "c.yaml", text), sets)


def submission(project: Path, *sets: str) -> Submission:
    return Submission("tiny", project, Path("sweep.yaml"), "~/ablate-runs", sets=sets)


# --- up and down ------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_created_and_touches_nothing(
    project: Path, ray: FakeRay, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster(project, AWS).up(dry_run=True)
    said = capsys.readouterr().out
    for line in (
        "cluster rented, provider aws us-west-2",
        "  head: 1 (m7i.large, on demand, CPU 0)",
        "gpu.large: 0 to 3 (g6.xlarge, spot, CPU 4, GPU 1)",
        "together at most 4; a worker goes after 5 idle minutes",
        f"~/ablate/ablate <- {project}/ablate",
        "Prices are not known here",
        "Nothing has been created.",
    ):
        assert line in said
    assert ray.calls == []
    assert not (project.parent / "home").exists()


def test_hosts_of_ones_own_are_named_with_the_commands_that_run_there(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster(project, HOSTS, "provider.worker_ips=[10.0.0.9]").up(dry_run=True)
    said = capsys.readouterr().out
    assert "head: 1 (10.0.0.1)" in said
    assert "workers: 1 (10.0.0.9)" in said
    assert "head_setup_commands:\n  make\n" in said
    assert "Prices" not in said


def test_up_gives_ray_the_file_with_sets_absolute_paths_and_a_token(
    project: Path, ray: FakeRay, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster(project, HOSTS, "cluster_name=mine").up(dry_run=False)
    [[*words, resolved]] = ray.words
    assert words == ["up", "--yes", "--no-config-cache"]
    values = json.loads(Path(resolved).read_text().partition("\n")[2])
    assert values["cluster_name"] == "mine"
    home = project.parent / "home"
    assert values["file_mounts"] == {
        "~/ablate/ablate": f"{project}/ablate",
        "~/.ray/auth_token": f"{home}/.ray/auth_token",
    }
    assert stat.S_IMODE((home / ".ray" / "auth_token").stat().st_mode) == 0o600
    said = capfd.readouterr()
    assert "fake ray up" in said.out  # what Ray prints is seen
    assert f"ablate cluster down {project}/c.yaml" in said.out
    assert resolved in said.out
    everything = json.dumps(ray.calls) + said.out + said.err + Path(resolved).read_text()
    assert read_token() not in everything


def test_a_failed_up_says_that_what_it_started_costs_and_how_to_end_it(
    project: Path, ray: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_RAY_STATUS", "3")
    with pytest.raises(ClusterError, match=r"exit status 3.*costs.*ablate cluster down .*c\.yaml"):
        cluster(project, AWS).up(dry_run=False)
    with pytest.raises(ClusterError, match=r"`ray down` ended with exit status 3.*may still run, and cost"):
        cluster(project, AWS).down(dry_run=False)
    assert [words[0] for words in ray.words] == ["up", "down"]


def test_hosts_of_ones_own_are_down_only_if_their_head_could_be_told(
    project: Path, ray: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster(project).up(dry_run=False)
    kept = beside(project / "c.yaml", ".yaml")
    monkeypatch.setenv("FAKE_RAY_STATUS", "1")
    with pytest.raises(ClusterError, match=f"could not be stopped.*if that machine is gone, delete {kept}"):
        cluster(project).down(dry_run=False)
    assert [words[0] for words in ray.words] == ["up", "exec"]
    assert ray.words[1][-1].startswith("ray stop && ")


@pytest.mark.parametrize("workers", [[], ["10.0.0.2", "10.0.0.3"]])
def test_from_the_head_the_workers_are_told_too_and_one_out_of_reach_is_named(
    tmp_path: Path, workers: list[str]
) -> None:
    for name, body in (("ray", "exit $STATUS"), ("ssh", 'case "$*" in *10.0.0.3*) exit 255;; esac')):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >>{tmp_path}/told\n{body}\n')
        program.chmod(0o755)
    (tmp_path / "python").symlink_to(sys.executable)
    (tmp_path / "ray_bootstrap_config.yaml").write_text(json.dumps({"provider": {"worker_ips": workers}}))
    auth = {"ssh_user": "ablate", "ssh_private_key": "~/.ssh/key"}
    text = stop_hosts({"auth": auth, "provider": {"worker_ips": ["10.9.9.9"]}})  # edited since

    def run(status: int) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "STATUS": str(status),
            "HOME": str(tmp_path),
        }
        return subprocess.run(
            ["bash", "-c", text], env=environment, capture_output=True, text=True, check=False
        )

    done = run(0)
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == workers[1:]
    told = (tmp_path / "told").read_text().splitlines()
    assert told[0] == "ray stop"
    for worker, line in zip(workers, told[1:], strict=True):
        assert line.endswith(f"ablate@{worker} bash --login -i -c 'source ~/.bashrc && ray stop'")
    (tmp_path / "told").unlink()
    assert run(1).returncode != 0
    assert (tmp_path / "told").read_text() == "ray stop\n", "a head that still runs would start them again"


def test_only_up_keeps_what_later_commands_hold_against_an_edited_file(project: Path, ray: FakeRay) -> None:
    with pytest.raises(ClusterError):
        cluster(project).status()
    assert not beside(project / "c.yaml", ".yaml").exists()
    cluster(project, HOSTS.replace("name: hosts", "name: others")).up(dry_run=False)
    assert ray.words[-1][0] == "up"


def test_bringing_up_again_says_first_that_sweeps_there_end(
    project: Path, ray: FakeRay, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster(project).up(dry_run=True)
    assert "sweeps that run there end" not in capsys.readouterr().out
    cluster(project).up(dry_run=False)
    cluster(project).up(dry_run=True)
    assert "sweeps that run there end" in capsys.readouterr().out
    assert len(ray.words) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HOSTS.replace("ablate: ablate", "ablate: gone"), r"~/ablate/ablate: there is no .*/gone; relative"),
        (HOSTS.replace("  ~/.ray/auth_token: ~/.ray/auth_token\n", ""), r"file_mounts must hold ~/\.ray"),
    ],
)
def test_up_refuses_mounts_that_are_not_there_and_a_cluster_without_a_token(
    project: Path, ray: FakeRay, text: str, said: str
) -> None:
    for dry_run in (True, False):
        with pytest.raises(ClusterError, match=said):
            cluster(project, text).up(dry_run=dry_run)
    assert ray.calls == []


def test_programs_that_ray_needs_are_asked_for_first(
    project: Path, ray: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(project))
    with pytest.raises(ClusterError, match="needs the program ssh, which is not on PATH"):
        cluster(project).up(dry_run=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ClusterError, match=r"provider\.type aws needs boto3: pip install boto3"):
        cluster(project, AWS).up(dry_run=False)
    assert ray.calls == []


def test_down_says_what_stays_and_a_dry_run_of_it_asks_ray_nothing(
    project: Path, ray: FakeRay, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster(project, AWS).down(dry_run=True)
    assert "Left: the bucket, the key pair" in capfd.readouterr().out
    assert ray.calls == []
    cluster(project, AWS).down(dry_run=False)
    assert "rented is down. Left: the bucket" in capfd.readouterr().out
    assert [words[:2] for words in ray.words] == [["down", "--yes"]]


# --- which cluster is meant -------------------------------------------------------------------------------


def test_an_edited_file_does_not_lose_sight_of_what_it_brought_up(project: Path, ray: FakeRay) -> None:
    cluster(project).up(dry_run=False)
    edited = HOSTS.replace("name: hosts", "name: others")
    sent = submission(project)
    for use in (
        lambda c: c.up(dry_run=False),
        lambda c: c.down(dry_run=False),
        lambda c: c.status(),
        lambda c: c.submit(sent, dry_run=False),
        lambda c: list(c.logs("tiny", follow=False)),
    ):
        with pytest.raises(ClusterError, match=r"was brought up as hosts .* would now be others") as caught:
            use(cluster(project, edited))
        resolved = beside(project / "c.yaml", ".yaml")
        assert f"ablate cluster down {resolved}" in str(caught.value)
    assert [words[0] for words in ray.words] == ["up"]
    read_cluster(resolved).down(dry_run=False)
    forget(resolved)
    cluster(project, edited).up(dry_run=False)
    assert [words[0] for words in ray.words] == ["up", "exec", "down", "up"]


def test_what_may_change_while_a_cluster_runs_may_be_edited(project: Path, ray: FakeRay) -> None:
    cluster(project, AWS).up(dry_run=False)
    cluster(project, AWS.replace("max_workers: 3", "max_workers: 2"), "idle_timeout_minutes=1").up(
        dry_run=False
    )
    assert [words[0] for words in ray.words] == ["up", "up"]


def test_paths_stay_those_of_up_when_a_later_command_is_called_elsewhere(
    project: Path, ray: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster(project).up(dry_run=False)
    monkeypatch.chdir(project.parent)
    cluster(project).down(dry_run=False)
    values = json.loads(Path(ray.words[-1][-1]).read_text().partition("\n")[2])
    assert values["file_mounts"]["~/ablate/ablate"] == f"{project}/ablate"


def test_sets_are_remembered_by_file_until_they_are_forgotten(project: Path) -> None:
    one, other = project / "one.yaml", project / "other.yaml"
    assert recall(one) == ()
    remember(one, ["a=1", "b=[2, 3]"])
    remember(other, [])
    assert recall(Path("one.yaml")) == ("a=1", "b=[2, 3]")
    beside(one, ".json").write_text("{")
    with pytest.raises(ClusterError, match="delete it, and give --set again"):
        recall(one)
    forget(one)
    assert recall(one) == ()
    assert stat.S_IMODE(beside(one, ".json").parent.stat().st_mode) == 0o700


# --- submitting -------------------------------------------------------------------------------------------


def test_a_dry_run_of_submit_says_what_is_shipped_and_what_would_run(
    project: Path, ray: FakeRay, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project / "runs" / "tiny" / "big.bin", "x" * 5000)
    write(project / ".gitignore", "*.bin\n")
    read_cluster(write(project.parent / "c.yaml", HOSTS)).submit(
        submission(project, "search.trials=5", "question=Is it so?"), dry_run=True
    )
    said = capsys.readouterr().out
    assert f"ships: {project}: 3 files, " in said
    assert (
        "runs there: ablate sweep sweep.yaml --resume --runs ~/ablate-runs --address auto "
        "--set search.trials=5 --set 'question=Is it so?'\n"
    ) in said
    assert ray.calls == []


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (
            ["resources.cpus=8"],
            r"a trial needs 1 worker\(s\) of 8 CPU\(s\).*there is room for 0.*gpu\.large: 3 x 4",
        ),
        (["resources.workers=4", "resources.gpus=1", "base.optim.batch=64"], "there is room for 3"),
    ],
)
def test_what_can_never_have_a_place_is_refused_before_the_cluster_is_asked(
    project: Path, ray: FakeRay, sets: list[str], said: str
) -> None:
    with pytest.raises(ClusterError, match=said):
        cluster(project, AWS).submit(submission(project, *sets), dry_run=False)
    assert ray.calls == []


def test_a_sweep_that_would_stay_here_is_refused(project: Path) -> None:
    write(project / ".gitignore", "sweep.yaml\n")
    with pytest.raises(ClusterError, match=r"sweep\.yaml: is not shipped, since \.gitignore"):
        cluster(project).submit(submission(project), dry_run=True)


def test_without_a_token_nothing_is_connected(project: Path, ray: FakeRay) -> None:
    with pytest.raises(
        ClusterError, match="there is no token; copy it from where the cluster was brought up"
    ):
        cluster(project).status()
    assert ray.calls == []


def test_a_cluster_that_is_not_up_is_said_in_rays_words(project: Path, ray: FakeRay) -> None:
    write(project.parent / "home" / ".ray" / "auth_token", "ab")
    with pytest.raises(
        ClusterError, match=r"cannot reach the head.*\n.*Head node of cluster \(hosts\) not found"
    ):
        cluster(project).status()
    assert ray.words[0][:3] == ["dashboard", "--no-config-cache", "--port"]
    assert ray.words[0][4:6] == ["--remote-port", "8265"]


# --- what is shipped --------------------------------------------------------------------------------------


def test_what_git_ignores_and_what_is_made_here_stays_here(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    for name in (
        "a.py", "sub/b.py", "sub/notes.txt", ".git/config", ".venv/bin/python", "runs/s/ledger.jsonl",
        "sub/__pycache__/b.pyc", "data/large.bin", "keep/runs/x.py",
    ):  # fmt: skip
        write(folder / name, name)
    write(folder / ".gitignore", "data/\n")
    write(folder / "sub" / ".gitignore", "*.txt\n")
    shipped = [file.as_posix() for file in package.files_of(folder)]
    assert shipped == [".gitignore", "a.py", "keep/runs/x.py", "sub/.gitignore", "sub/b.py"]


def test_too_much_is_refused_with_what_is_large(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    for name, size in (
        ("data/raw/one", 300),
        ("data/raw/deep/two", 400),
        ("ablate/code.py", 20),
        ("top", 50),
    ):
        write(folder / name, "x" * size)
    files = package.files_of(folder)
    assert package.check_size(folder, files, 771) == 770
    with pytest.raises(ClusterError) as caught:
        package.check_size(folder, files, 770)
    assert "770 bytes would be shipped, and Ray takes less than 770 bytes" in str(caught.value)
    assert "Largest: data/raw/ 700 bytes, top 50 bytes, ablate/ 20 bytes" in str(caught.value)


def test_equal_projects_make_equal_archives_which_keep_what_can_be_run(tmp_path: Path) -> None:
    archives = []
    for name in ("one", "two"):
        folder = tmp_path / name
        write(folder / "sub" / "run.sh", "#!/bin/sh\n").chmod(0o750)
        os.utime(write(folder / "a.py", "a"), (1, 1) if name == "one" else None)
        package.pack(folder, package.files_of(folder), archive := tmp_path / f"{name}.zip")
        archives.append(archive.read_bytes())
    assert archives[0] == archives[1]
    with zipfile.ZipFile(tmp_path / "one.zip") as zipped:
        modes = {entry.filename: entry.external_attr >> 16 & 0o111 for entry in zipped.infolist()}
    assert {name: bool(mode) for name, mode in modes.items()} == {"a.py": False, "sub/run.sh": True}


# --- the tunnel -------------------------------------------------------------------------------------------


def test_a_head_that_does_not_answer_is_given_up_and_the_forwarder_ends(tmp_path: Path) -> None:
    forwarder = tmp_path / "pid"
    script = f"echo $$ >{forwarder}; echo connecting; exec sleep 599"
    with (
        pytest.raises(ClusterError, match=r"does not answer on its loopback port 8265.*\nconnecting"),
        tunnel(lambda _: ["sh", "-c", script], patience=5),
    ):
        pass
    wait_until_gone(int(forwarder.read_text()))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_forwarder_ends_with_the_command_however_that_ends(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    monkeypatch.setenv("FAKE_RAY_DASHBOARD", "silent")
    code = """
        import sys
        from ablate.cluster.tunnel import tunnel
        with tunnel(lambda port: [sys.argv[1], "dashboard", "--port", str(port)]):
            pass
    """
    words = [sys.executable, "-c", textwrap.dedent(code), str(ray.program)]
    with subprocess.Popen(words, cwd=Path(__file__).parents[2]) as command:
        deadline = time.monotonic() + 60
        while not ray.calls:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        command.send_signal(how)
    wait_until_gone(ray.calls[0]["pid"])
