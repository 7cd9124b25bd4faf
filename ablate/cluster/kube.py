"""Kubernetes, through kubectl and the KubeRay operator.

`up` makes what a cluster needs once, and the token's Secret. Each sweep that is sent is a RayJob of its own,
made of the file's, which brings its pods and takes them away. They are called ``<sweep>-1``, ``<sweep>-2``,
...: a stopped sweep goes on as the next, and the name decides between two people who send it at the same
moment. The code is that of the image; the sweep's file and the command come in a ConfigMap.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ablate.cluster.kind import ClusterError, Submission
from ablate.cluster.kube_file import PART, SWEEP, Manifest, read_kube, stem
from ablate.cluster.room import too_large
from ablate.cluster.token import ensure_token, read_token
from ablate.spec import load_sweep
from ablate.spec.yaml_file import dump_yaml

_RAYJOBS = "rayjobs.ray.io"
_IN_VAIN = ("Failed", "ValidationFailed")  # phases of a RayJob that does nothing more
_LOOK = 2.0  # seconds between looks at a RayJob's status
_COLUMNS = {
    _RAYJOBS: "JOB:.metadata.name,STATE:.status.jobStatus,CLUSTER:.status.jobDeploymentStatus,"
    "BEGAN:.status.startTime,ENDED:.status.endTime",
    "pods": "POD:.metadata.name,NODE:.spec.nodeName,STATE:.status.phase,"
    "CPU:.spec.containers[0].resources.limits.cpu,"
    r"GPU:.spec.containers[0].resources.limits.nvidia\.com/gpu",
}


class KubeCluster:
    """The cluster of a file that holds a RayJob. Which one is meant is kubectl's current context."""

    def __init__(self, path: Path, sets: Sequence[str] = ()) -> None:
        self.path = path
        self._file = read_kube(path, sets)

    def up(self, *, dry_run: bool) -> None:
        file = self._file
        if dry_run:
            print(_yaml(file.others))
            print(f"---\n# and Secret {file.secret}, with the token of this machine, which is not shown.")
            print("# Nothing has been created.")
            return
        for line in ensure_token():
            print(line)
        print(f"Kubernetes: {self._context()}")
        print(self._kubectl("apply", "--filename", "-", stdin=_json(file.others)), end="")
        if not self._get("secret", file.secret, "name"):
            by_pipe = "--from-file=auth_token=/dev/stdin"
            print(self._here("create", "secret", "generic", file.secret, by_pipe, stdin=read_token()), end="")
        print(f"\nTo run a sweep: ablate cluster submit {self.path} SWEEP --storage URL")

    def down(self, *, dry_run: bool) -> None:
        file = self._file
        # A claim of a volume lies in the namespace, and with it would go the runs.
        ending = [d for d in file.others if not (file.keeps_runs and d["kind"] == "Namespace")]
        if dry_run:
            kinds = ", ".join(f"{document['kind']} {document['metadata']['name']}" for document in ending)
            print(
                f"namespace {file.namespace}: all sweeps' RayJobs with their pods would be deleted, Secret "
                f"{file.secret}, and {kinds}. "
                + ("The namespace stays, with the volume of the runs." if file.keeps_runs else "")
                + "Storage outside of Kubernetes stays."
            )
            return
        print(f"Kubernetes: {self._context()}")
        print(self._here("delete", _RAYJOBS, f"--selector={PART}"), end="")
        print(self._here("delete", "secret", file.secret, "--ignore-not-found"), end="")
        rest = _json(ending[::-1])
        print(self._kubectl("delete", "--ignore-not-found", "--filename", "-", stdin=rest), end="")

    def status(self) -> str:
        tables = [
            self._here("get", kind, f"--selector={PART}", f"--output=custom-columns={columns}")
            for kind, columns in _COLUMNS.items()
        ]
        title = f"{self._context()}, namespace {self._file.namespace} ({self.path})"
        return "\n".join([title, *(table.rstrip() for table in tables)])

    def submit(self, submission: Submission, *, dry_run: bool) -> str:
        file = self._file
        sweep = load_sweep(submission.project / submission.file, submission.sets)
        if why := too_large(sweep.resources, file.offers):
            raise ClusterError(f"{self.path}: {why}")
        if submission.storage is None and not file.keeps_runs:
            raise ClusterError(
                f"{submission.name}: a pod's disk goes with the pod, and the sweep with it; give --storage "
                f"s3://bucket/folder, or mount a PersistentVolumeClaim in {self.path}"
            )
        earlier = [] if dry_run else self._sent(submission.name)
        if running := [job for job in earlier if not _over(job)]:
            raise ClusterError(
                f"{submission.name}: {running[-1]['metadata']['name']} is {_phase(running[-1])} already, and "
                "a sweep has one driver; see it with "
                f"`ablate cluster logs {self.path} {submission.name} --follow`"
            )
        name = f"{stem(submission.name)}-{1 + max(map(_number, earlier), default=0)}"
        job, configmap = file.rayjob(submission, name), file.configmap(submission, name)
        if dry_run:
            print(f"{_yaml([job, configmap])}\n---\n# Nothing has been created.")
            return name
        self._create(job, configmap)
        print(f"sent {submission.file}; the code is that of the image {file.image}")
        return name

    def logs(self, name: str, *, follow: bool) -> Iterator[str]:
        sent = self._sent(name)
        if not sent:
            raise ClusterError(
                f"no sweep called {name} was sent to namespace {self._file.namespace}; those that were are "
                f"shown by `ablate cluster status {self.path}`"
            )
        job, shown = sent[-1]["metadata"]["name"], ""
        while True:
            found: Manifest = json.loads(self._get(_RAYJOBS, job, "json") or "{}")
            if not found:
                raise ClusterError(f"{job} was deleted; submit the sweep again and it goes on")
            run = found.get("status", {}).get("jobId", "")  # another one after each head that was lost
            if run != shown and self._get("job", job, "name"):
                shown = run
                yield from self._printed(job, follow=follow)
            elif follow and not _over(found):
                time.sleep(_LOOK)
            else:
                break
        if not shown:
            yield f"{job} is {_phase(found)} and has printed nothing\n"
        if why := _failure(found):
            raise ClusterError(f"{job} {why}")

    def _create(self, job: Manifest, configmap: Manifest) -> None:
        """The pods wait for the ConfigMap, which goes when its RayJob goes."""
        made = json.loads(self._kubectl("create", "--output=json", "--filename", "-", stdin=_json([job])))
        owner = {key: made[key] for key in ("apiVersion", "kind")}
        configmap["metadata"]["ownerReferences"] = [owner | {k: made["metadata"][k] for k in ("name", "uid")}]
        try:
            self._kubectl("create", "--filename", "-", stdin=_json([configmap]))
        except ClusterError:
            self._here("delete", _RAYJOBS, made["metadata"]["name"], "--wait=false")
            raise

    def _sent(self, sweep: str) -> list[Manifest]:
        """The sweep's RayJobs, oldest first."""
        found = self._here("get", _RAYJOBS, f"--selector={SWEEP}={stem(sweep)}", "--output=json")
        return sorted(json.loads(found)["items"], key=_number)

    def _printed(self, job: str, *, follow: bool) -> Iterator[str]:
        """What the pod that hands the job over prints, which is what the job prints."""
        more = ["--follow", "--pod-running-timeout=1h"] if follow else []
        command = ["kubectl", "--namespace", self._file.namespace, "logs", f"job/{job}", *more]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            try:
                yield from process.stdout
            except GeneratorExit:
                process.terminate()
                raise
        if process.returncode:
            raise ClusterError(
                f"{job}: kubectl logs ended with exit status {process.returncode}; see above. The sweep goes "
                "on without it"
            )

    def _context(self) -> str:
        return self._kubectl("config", "current-context").strip()

    def _get(self, kind: str, name: str, output: str) -> str:
        return self._here("get", kind, name, "--ignore-not-found", f"--output={output}").strip()

    def _here(self, *words: str, stdin: str | None = None) -> str:
        return self._kubectl("--namespace", self._file.namespace, *words, stdin=stdin)

    def _kubectl(self, *words: str, stdin: str | None = None) -> str:
        command = ["kubectl", *words]
        try:
            done = subprocess.run(command, input=stdin or "", capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise ClusterError(f"{self.path}: kubectl is needed, and is not on PATH") from None
        if done.returncode:
            said = done.stderr.strip()[-800:]
            missing = "no matches for kind" in said or "the server doesn't have a resource type" in said
            hint = " (is the KubeRay operator installed in this cluster?)" if missing else ""
            raise ClusterError(f"{self.path}: {' '.join(command)} failed: {said}{hint}")
        return done.stdout


def _number(job: Manifest) -> int:
    return int(job["metadata"]["name"].rpartition("-")[2])


def _phase(job: Manifest) -> str:
    return job.get("status", {}).get("jobDeploymentStatus") or "new"


def _over(job: Manifest) -> bool:
    return _phase(job) in ("Complete", *_IN_VAIN)


def _failure(job: Manifest) -> str:
    """What went wrong with a RayJob, in words; nothing if nothing did."""
    status = job.get("status", {})
    if status.get("jobStatus") == "STOPPED":
        return "was stopped; submit the sweep again and it goes on"
    if status.get("jobStatus") == "FAILED" or _phase(job) in _IN_VAIN:
        said = [status.get(key) for key in ("reason", "message")]
        return f"failed: {': '.join(filter(None, said)) or 'see above'}"
    return ""


def _json(documents: Sequence[Manifest]) -> str:
    if len(documents) == 1:
        return json.dumps(documents[0])
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})


def _yaml(documents: Sequence[Manifest]) -> str:
    return "---\n".join(dump_yaml(document) for document in documents).rstrip()
