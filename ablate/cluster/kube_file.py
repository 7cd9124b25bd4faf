"""A file for Kubernetes: one RayJob, and beside it what a cluster needs once (namespace, accounts, policies).

Unknown fields are left to kubectl, which refuses them; what is checked here is what sweeps rely on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablate.cluster.files import read_documents
from ablate.cluster.jobs import entrypoint
from ablate.cluster.kind import ClusterError, Submission
from ablate.cluster.room import Offer
from ablate.cluster.sets import put
from ablate.spec.layers import read_layers
from ablate.spec.yaml_file import dump_yaml

PART = "app.kubernetes.io/part-of=ablate"  # the label of all that is ours
SWEEP = "ablate/sweep"  # a label: the sweep's name, as Kubernetes takes it
_FILE, _COMMAND = "sweep.yaml", "command"  # in the ConfigMap; the RayJob's entrypoint runs the latter
_PROJECT = "~/ablate"  # in the image
_UNLIMITED = 2**31 - 1  # what Kubernetes takes for a group that does not say how many
_LONGEST = 40  # of a sweep's name: the operator adds to it, and 63 is the limit of Kubernetes

Manifest = dict[str, Any]


@dataclass(frozen=True)
class KubeFile:
    """``job`` is the RayJob, ``others`` are the rest."""

    path: Path
    job: Manifest
    others: list[Manifest]
    namespace: str
    secret: str  # that holds the token

    @property
    def image(self) -> str:
        return str(self._head["containers"][0]["image"])

    @property
    def offers(self) -> list[Offer]:
        """What there is for trials at most."""
        cluster = self.job["spec"]["rayClusterSpec"]
        head = Offer("head", 1, _resources(cluster["headGroupSpec"]))
        workers = [
            Offer(group["groupName"], group.get("maxReplicas", _UNLIMITED), _resources(group))
            for group in cluster.get("workerGroupSpecs", [])
        ]
        return [head, *workers]

    @property
    def keeps_runs(self) -> bool:
        """Whether something of the head's pod outlives it."""
        return any("persistentVolumeClaim" in volume for volume in self._head.get("volumes", []))

    def rayjob(self, submission: Submission, name: str) -> Manifest:
        job = deepcopy(self.job)
        job["metadata"]["name"] = name
        job["metadata"].setdefault("labels", {})[SWEEP] = stem(submission.name)
        _sweep_volume(self.path, _head(job))["configMap"]["name"] = name
        return job

    def configmap(self, submission: Submission, name: str) -> Manifest:
        """The sweep's file, whole with those that it extends, and the command."""
        tree, _ = read_layers(submission.project / submission.file, ())
        there = entrypoint(replace(submission, file=self._folder / _FILE))
        label, _, ours = PART.partition("=")
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": self.namespace, "labels": {label: ours}},
            "data": {_FILE: dump_yaml(tree.plain()), _COMMAND: f"cd {_PROJECT} && exec {there}\n"},
        }

    @property
    def _head(self) -> Manifest:
        return _head(self.job)

    @property
    def _folder(self) -> Path:
        """Where the head's pod finds the ConfigMap."""
        volume = _sweep_volume(self.path, self._head)["name"]
        mounts = self._head["containers"][0].get("volumeMounts", [])
        found = [mount["mountPath"] for mount in mounts if mount["name"] == volume]
        if len(found) != 1:
            raise ClusterError(
                f"{self.path}: RayJob: the head's first container mounts the volume {volume} {len(found)} "
                "times; it must do so once, for it holds the sweep"
            )
        return Path(found[0])


def read_kube(path: Path, sets: Sequence[str] = ()) -> KubeFile:
    """``sets`` are laid over the RayJob. Raises ClusterError."""
    documents = [document.plain() for document in read_documents(path)]
    jobs = [document for document in documents if document.get("kind") == "RayJob"]
    if len(jobs) != 1:
        raise ClusterError(f"{path}: found {len(jobs)} documents of kind RayJob; there must be one")
    [job] = jobs
    for text in sets:
        put(job, text)
    for keys in (
        ("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers"),
        ("metadata", "namespace"),
    ):
        _part(path, job, *keys)
    others = [document for document in documents if document is not job]
    _sweep_volume(path, _head(job))
    return KubeFile(path, job, others, str(job["metadata"]["namespace"]), _token_secret(path, job))


def stem(sweep: str) -> str:
    """The sweep's name, as Kubernetes takes it; different ones stay different."""
    plain = re.sub(r"[^a-z0-9]+", "-", sweep).strip("-")
    if plain == sweep and len(plain) <= _LONGEST and plain[0].isalpha():
        return plain
    return f"sweep-{plain[:24].strip('-')}-{hashlib.sha256(sweep.encode()).hexdigest()[:8]}"


def _head(job: Manifest) -> Manifest:
    head: Manifest = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    return head


def _part(path: Path, job: Manifest, *keys: str) -> Any:
    """What the RayJob has at these keys, which it must have."""
    here: Any = job
    for depth, key in enumerate(keys):
        if not isinstance(here, dict) or not here.get(key):
            raise ClusterError(f"{path}: RayJob: {'.'.join(keys[: depth + 1])} is missing")
        here = here[key]
    return here


def _token_secret(path: Path, job: Manifest) -> str:
    auth = job["spec"]["rayClusterSpec"].get("authOptions") or {}
    if auth.get("mode") != "token" or not auth.get("secretName"):
        raise ClusterError(
            f"{path}: RayJob: spec.rayClusterSpec.authOptions: found {json.dumps(auth)}; it must be mode: "
            "token with a secretName, or whoever reaches the pods can run there what they like"
        )
    return str(auth["secretName"])


def _sweep_volume(path: Path, head: Manifest) -> Manifest:
    found: list[Manifest] = [volume for volume in head.get("volumes", []) if "configMap" in volume]
    if len(found) != 1:
        raise ClusterError(
            f"{path}: RayJob: found {len(found)} volumes of a configMap in the head's pod; there must be "
            "one, for the sweep"
        )
    return found[0]


def _resources(group: Mapping[str, Any]) -> dict[str, float]:
    """What a pod of the group has, in Ray's names, as the operator tells Ray."""
    limits = group["template"]["spec"]["containers"][0].get("resources", {}).get("limits", {})
    told = group.get("rayStartParams") or {}
    cpus = told.get("num-cpus", limits.get("cpu", 0))
    gpus = told.get("num-gpus", limits.get("nvidia.com/gpu", 0))
    return {"CPU": _amount(cpus), "GPU": _amount(gpus)}


def _amount(quantity: Any) -> float:
    text = str(quantity)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)
