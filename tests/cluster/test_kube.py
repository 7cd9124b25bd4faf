"""Sweeps on Kubernetes, by what kubectl is asked to do; clusters/kuberay.yaml is the file."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ablate.cluster import kube
from ablate.cluster.files import read_cluster
from ablate.cluster.kind import ClusterError, Submission
from ablate.cluster.kube import KubeCluster
from ablate.spec import load_sweep
from tests.cluster import fake_kubectl
from tests.cluster.fakes import SWEEP, write

FILE = Path(__file__).parents[2] / "clusters" / "kuberay.yaml"
TOKEN = "f00d" * 16
STORAGE = "s3://bucket/sweeps"


class Kubectl:
    """The stand-in, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def calls(self) -> list[dict[str, Any]]:
        file = self._folder / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def objects(self) -> dict[str, Any]:
        state: dict[str, Any] = self._state()["objects"]
        return state

    def set(self, **parts: Any) -> None:
        (self._folder / "state.json").write_text(json.dumps(self._state() | parts))

    def _state(self) -> dict[str, Any]:
        file = self._folder / "state.json"
        state: dict[str, Any] = json.loads(file.read_text()) if file.exists() else fake_kubectl.EMPTY
        return state


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    program = write(
        tmp_path / "bin" / "kubectl",
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -ES {shlex.quote(str(fake_kubectl.__file__))} "$@"\n',
    )
    program.chmod(0o755)
    write(tmp_path / "home" / ".ray" / "auth_token", TOKEN + "\n").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_KUBECTL", str(tmp_path))
    monkeypatch.setattr(kube, "_LOOK", 0.0)
    return Kubectl(tmp_path)


@pytest.fixture
def submission(tmp_path: Path) -> Submission:
    write(tmp_path / "project" / "search_spaces" / "tiny.yaml", SWEEP)
    return Submission(
        "tiny",
        tmp_path / "project",
        Path("search_spaces/tiny.yaml"),
        "~/ablate-runs",
        STORAGE,
        ("search.trials=2",),
    )


def test_a_file_with_a_rayjob_is_a_cluster_of_kubernetes() -> None:
    assert isinstance(read_cluster(FILE), KubeCluster)


def test_up_makes_all_but_the_rayjob_and_sends_the_token_through_a_pipe(
    kubectl: Kubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    KubeCluster(FILE).up(dry_run=False)
    assert set(kubectl.objects) == {
        "Namespace/ablate",
        "ServiceAccount/ablate-head",
        "ServiceAccount/ablate-worker",
        "NetworkPolicy/ablate",
        "Secret/ablate-token",
    }
    given = [call for call in kubectl.calls if TOKEN in call["stdin"]]
    assert [call["stdin"] for call in given] == [TOKEN]
    assert given[0]["words"][2:] == [
        "create", "secret", "generic", "ablate-token", "--from-file=auth_token=/dev/stdin"
    ]  # fmt: skip
    assert not any(TOKEN in word for call in kubectl.calls for word in call["words"])
    assert TOKEN not in "".join(capsys.readouterr())


def test_up_again_leaves_the_token_that_is_there(kubectl: Kubectl) -> None:
    KubeCluster(FILE).up(dry_run=False)
    KubeCluster(FILE).up(dry_run=False)
    assert sum(TOKEN in call["stdin"] for call in kubectl.calls) == 1


def test_a_sweep_is_sent_as_a_rayjob_and_a_configmap_that_goes_with_it(
    kubectl: Kubectl, submission: Submission
) -> None:
    assert KubeCluster(FILE).submit(submission, dry_run=False) == "tiny-1"
    job, configmap = kubectl.objects["RayJob/tiny-1"], kubectl.objects["ConfigMap/tiny-1"]
    assert job["metadata"]["namespace"] == configmap["metadata"]["namespace"] == "ablate"
    [volume] = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"]
    assert volume["configMap"]["name"] == "tiny-1"
    [owner] = configmap["metadata"]["ownerReferences"]
    assert owner == {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "name": "tiny-1",
        "uid": "uid of RayJob/tiny-1",
    }


def test_the_command_is_the_one_that_runs_everywhere(kubectl: Kubectl, submission: Submission) -> None:
    KubeCluster(FILE).submit(submission, dry_run=False)
    command = kubectl.objects["ConfigMap/tiny-1"]["data"]["command"]
    assert command == (
        "cd ~/ablate && exec ablate sweep /etc/ablate/sweep.yaml --resume --runs ~/ablate-runs "
        "--address auto --storage s3://bucket/sweeps --set search.trials=2\n"
    )


def test_the_sweeps_file_arrives_whole_with_what_it_extends(
    kubectl: Kubectl, submission: Submission, tmp_path: Path
) -> None:
    folder = submission.project / "search_spaces"
    (folder / "tiny.yaml").rename(folder / "lower.yaml")
    write(folder / "tiny.yaml", "extends: lower.yaml\nsearch: {trials: 7}\n")
    KubeCluster(FILE).submit(submission, dry_run=False)
    there = write(tmp_path / "there.yaml", kubectl.objects["ConfigMap/tiny-1"]["data"]["sweep.yaml"])
    assert load_sweep(there) == load_sweep(folder / "tiny.yaml")


def test_a_stopped_sweep_goes_on_as_the_next_job_and_a_running_one_is_not_sent_twice(
    kubectl: Kubectl, submission: Submission
) -> None:
    cluster = KubeCluster(FILE)
    cluster.submit(submission, dry_run=False)
    with pytest.raises(ClusterError, match="tiny-1 is new already, and a sweep has one driver"):
        cluster.submit(submission, dry_run=False)
    objects = kubectl.objects
    objects["RayJob/tiny-1"]["status"] = {"jobDeploymentStatus": "Failed"}
    kubectl.set(objects=objects)
    assert cluster.submit(submission, dry_run=False) == "tiny-2"


@pytest.mark.usefixtures("kubectl")
def test_a_name_that_kubernetes_does_not_take_is_made_into_one(submission: Submission) -> None:
    names = set()
    for name in ("a.b_c", "a-b.c", "7heads", "x" * 64):
        text = SWEEP.replace("name: tiny", f"name: {name}")
        write(submission.project / submission.file, text)
        sent = Submission(name, submission.project, submission.file, "runs", STORAGE)
        names.add(KubeCluster(FILE).submit(sent, dry_run=False))
    assert len(names) == 4
    for name in names:
        assert len(name) <= 47
        assert name[0].isalpha()
        assert name.replace("-", "").isalnum()


def test_a_configmap_that_cannot_be_made_leaves_no_rayjob(kubectl: Kubectl, submission: Submission) -> None:
    kubectl.set(refuse={"ConfigMap": "exceeded quota"})
    with pytest.raises(ClusterError, match="exceeded quota"):
        KubeCluster(FILE).submit(submission, dry_run=False)
    assert kubectl.objects == {}


def test_without_storage_or_a_volume_a_sweep_is_refused(kubectl: Kubectl, submission: Submission) -> None:
    sent = Submission(submission.name, submission.project, submission.file, submission.runs)
    with pytest.raises(ClusterError, match="a pod's disk goes with the pod"):
        KubeCluster(FILE).submit(sent, dry_run=False)
    assert kubectl.calls == []
    at = "spec.rayClusterSpec.headGroupSpec.template.spec.volumes"
    volumes = "[{name: sweep, configMap: {name: x}}, {name: runs, persistentVolumeClaim: {claimName: runs}}]"
    assert KubeCluster(FILE, [f"{at}={volumes}"]).submit(sent, dry_run=False) == "tiny-1"


def test_what_no_pod_has_room_for_is_refused_at_once(kubectl: Kubectl, submission: Submission) -> None:
    sent = Submission("tiny", submission.project, submission.file, "runs", STORAGE, ("resources.gpus=2",))
    with pytest.raises(ClusterError, match=r"gpu: 8 x 4 CPUs and 1 GPUs"):
        KubeCluster(FILE).submit(sent, dry_run=False)
    assert kubectl.calls == []
    most = "spec.rayClusterSpec.workerGroupSpecs.0.maxReplicas=0"
    with pytest.raises(ClusterError, match="there is room for 0"):
        KubeCluster(FILE, [most]).submit(submission, dry_run=False)


def test_a_group_that_names_no_most_has_room(
    tmp_path: Path, kubectl: Kubectl, submission: Submission
) -> None:
    text = FILE.read_text()
    assert text.count("        maxReplicas: 8\n") == 1
    file = write(tmp_path / "mine.yaml", text.replace("        maxReplicas: 8\n", ""))
    assert KubeCluster(file).submit(submission, dry_run=False) == "tiny-1"
    assert kubectl.calls


def test_a_dry_run_shows_the_manifests_and_asks_kubectl_nothing(
    kubectl: Kubectl, submission: Submission, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = KubeCluster(FILE)
    cluster.up(dry_run=True)
    made = [document for document in yaml.safe_load_all(capsys.readouterr().out) if document]
    assert [document["kind"] for document in made] == [
        "Namespace", "ServiceAccount", "ServiceAccount", "NetworkPolicy"
    ]  # fmt: skip
    cluster.submit(submission, dry_run=True)
    job, configmap = (document for document in yaml.safe_load_all(capsys.readouterr().out) if document)
    assert job["metadata"]["name"] == configmap["metadata"]["name"] == "tiny-1"
    cluster.down(dry_run=True)
    said = capsys.readouterr().out
    assert "Namespace ablate" in said
    assert TOKEN not in said
    assert kubectl.calls == []


def test_down_deletes_sweeps_before_what_they_stand_on(kubectl: Kubectl, submission: Submission) -> None:
    cluster = KubeCluster(FILE)
    cluster.up(dry_run=False)
    cluster.submit(submission, dry_run=False)
    cluster.down(dry_run=False)
    assert set(kubectl.objects) == {"ConfigMap/tiny-1"}, "which Kubernetes deletes with its owner"
    deletions = [call for call in kubectl.calls if "delete" in call["words"]]
    assert "rayjobs.ray.io" in deletions[0]["words"]
    assert json.loads(deletions[-1]["stdin"])["items"][-1]["kind"] == "Namespace"


@pytest.mark.usefixtures("kubectl")
def test_status_names_the_place_and_shows_jobs_and_pods() -> None:
    title, *tables = KubeCluster(FILE).status().splitlines()
    assert title.startswith("somewhere, namespace ablate")
    assert tables == ["table of rayjobs.ray.io", "table of pods"]


def sent(kubectl: Kubectl, submission: Submission, *phases: dict[str, str], printed: str = "") -> KubeCluster:
    cluster = KubeCluster(FILE)
    cluster.submit(submission, dry_run=False)
    objects = kubectl.objects | ({"Job/tiny-1": {}} if printed else {})
    kubectl.set(objects=objects, phases=list(phases), printed={"tiny-1": printed})
    return cluster


def test_logs_wait_for_the_pods_and_follow_to_the_end(kubectl: Kubectl, submission: Submission) -> None:
    cluster = sent(
        kubectl,
        submission,
        {"jobDeploymentStatus": "Initializing"},
        {"jobDeploymentStatus": "Running", "jobId": "a"},
        {"jobDeploymentStatus": "Running", "jobId": "a"},
        {"jobDeploymentStatus": "Complete", "jobId": "a", "jobStatus": "SUCCEEDED"},
        printed="one\ntwo\n",
    )
    assert list(cluster.logs("tiny", follow=True)) == ["one\n", "two\n"]


def test_after_a_lost_head_the_next_run_is_followed(kubectl: Kubectl, submission: Submission) -> None:
    cluster = sent(
        kubectl,
        submission,
        {"jobDeploymentStatus": "Running", "jobId": "a"},
        {"jobDeploymentStatus": "Retrying", "jobId": "a"},
        {"jobDeploymentStatus": "Running", "jobId": "b"},
        {"jobDeploymentStatus": "Complete", "jobId": "b", "jobStatus": "SUCCEEDED"},
        printed="line\n",
    )
    assert list(cluster.logs("tiny", follow=True)) == ["line\n", "line\n"]


def test_logs_end_with_why_it_failed(kubectl: Kubectl, submission: Submission) -> None:
    failed = {"jobDeploymentStatus": "Failed", "jobId": "a", "jobStatus": "FAILED", "reason": "AppFailed"}
    cluster = sent(kubectl, submission, failed, printed="one\n")
    lines = cluster.logs("tiny", follow=False)
    assert next(lines) == "one\n"
    with pytest.raises(ClusterError, match="tiny-1 failed: AppFailed"):
        next(lines)


def test_a_job_that_the_operator_refuses_is_over(kubectl: Kubectl, submission: Submission) -> None:
    refused = {"jobDeploymentStatus": "ValidationFailed", "reason": "ValidationFailed", "message": "old Ray"}
    cluster = sent(kubectl, submission, refused)
    with pytest.raises(ClusterError, match="tiny-1 failed: ValidationFailed: old Ray"):
        list(cluster.logs("tiny", follow=True))
    assert cluster.submit(submission, dry_run=False) == "tiny-2"


def test_logs_before_there_are_any_say_so(kubectl: Kubectl, submission: Submission) -> None:
    cluster = sent(kubectl, submission, {"jobDeploymentStatus": "Initializing"})
    assert list(cluster.logs("tiny", follow=False)) == ["tiny-1 is Initializing and has printed nothing\n"]
    with pytest.raises(ClusterError, match="no sweep called other"):
        next(cluster.logs("other", follow=False))


def test_what_kubectl_says_is_said_with_a_hint(kubectl: Kubectl, submission: Submission) -> None:
    kubectl.set(refuse={"get": 'error: the server doesn\'t have a resource type "rayjobs"'})
    with pytest.raises(ClusterError, match="is the KubeRay operator installed"):
        KubeCluster(FILE).submit(submission, dry_run=False)


def test_without_kubectl_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="kubectl is needed"):
        KubeCluster(FILE).status()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("mode: token", "mode: disabled"), "whoever reaches the pods"),
        (("name: sweep\n  namespace: ablate", "name: sweep"), "metadata.namespace is missing"),
        (("configMap: {name: sweep}", "emptyDir: {}"), "0 volumes of a configMap"),
        (("kind: RayJob", "kind: RayCluster"), "0 documents of kind RayJob"),
    ],
)
def test_a_file_that_sweeps_cannot_rely_on_is_refused(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    text = FILE.read_text()
    assert text.count(change[0]) == 1
    with pytest.raises(ClusterError, match=said):
        KubeCluster(write(tmp_path / "mine.yaml", text.replace(*change)))


def test_a_wrong_entry_of_a_list_is_said() -> None:
    with pytest.raises(ClusterError, match="5 is none of the 1 entries"):
        KubeCluster(FILE, ["spec.rayClusterSpec.workerGroupSpecs.5.maxReplicas=4"])
