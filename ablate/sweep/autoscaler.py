"""Whether an autoscaler belongs to the cluster, and which nodes it can bring.

Ray has no public way to ask: `ray status` prints what runs, not what could. What it does have is the process
of the autoscaler on the head, whose arguments name its file, and the status that this process leaves in Ray's
key-value store. All that is known of either is in this file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.experimental.internal_kv import _internal_kv_get
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError


@dataclass(frozen=True)
class NodeType:
    """Nodes of which there can be ``most``, each with these ``resources``, by Ray's names."""

    name: str
    resources: Mapping[str, float]
    most: int


@dataclass(frozen=True)
class Autoscaler:
    """``types`` are the nodes that it can bring; None: it runs, but what it can bring is not known here."""

    types: tuple[NodeType, ...] | None

    def bring(self) -> list[Mapping[str, float]]:
        """The resources of every node that can come; none where that is not known."""
        return [node.resources for node in self.types or () for _ in range(node.most)]


def find_autoscaler() -> Autoscaler | None:
    """That of the connected cluster; None: there is none."""
    config = _config(ray.get_runtime_context().gcs_address)
    if config is not None:
        return Autoscaler(_types(config))
    return Autoscaler(None) if _brings_nodes() else None


def _config(cluster: str) -> Any | None:
    """What the autoscaler of the cluster was started with, if it runs on this machine and may be read."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().decode(errors="replace").split("\0")
            if f"--gcs-address={cluster}" not in words:
                continue
            for word in words:
                name, _, value = word.partition("=")
                if name == "--autoscaling-config":
                    return YAML(typ="safe").load(Path(value).expanduser())
        except (OSError, YAMLError):  # the process has ended, or its file is another user's
            continue
    return None


def _types(config: Any) -> tuple[NodeType, ...] | None:
    """None where a type does not say what its nodes have: Ray then looks when one is up."""
    try:
        total = int(config.get("max_workers", 0))
        found = []
        for name, given in config["available_node_types"].items():
            most = min(total, int(given.get("max_workers", total)))
            if name == config.get("head_node_type") or not most:
                continue
            if "CPU" not in given.get("resources", {}):
                return None
            resources = {key: float(value) for key, value in given["resources"].items()}
            found.append(NodeType(str(name), resources, most))
        return tuple(found)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _brings_nodes() -> bool:
    """Without an autoscaler, Ray's monitor reports each node as a type of its own, named by its id."""
    if is_autoscaler_v2(fetch_from_server=True):
        return True  # whether it only mirrors the nodes is not to be seen: rather wait in vain than refuse
    status = _internal_kv_get(DEBUG_AUTOSCALING_STATUS)
    report = (json.loads(status).get("autoscaler_report") or {}) if status else {}
    mirrored = {f"node_{node['NodeID']}" for node in ray.nodes()}
    return bool(set(report.get("active_nodes", {})) - mirrored)
