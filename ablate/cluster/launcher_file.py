"""A file of Ray's cluster launcher: its values with ``--set`` over them, checked before anything happens.

Values are read as Ray reads them (YAML 1.1), places as the rest of ablate does. What is wrong is said by the
schema that Ray itself validates by, at its line, all of it at once; then by Ray's own check of the whole.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from ablate.cluster.files import read_documents
from ablate.cluster.kind import ClusterError
from ablate.cluster.room import Offer
from ablate.cluster.sets import put
from ablate.spec.errors import Mistake, Place, SpecError
from ablate.spec.explain import Finding, nearest, show, unknown_key
from ablate.spec.paths import Path
from ablate.spec.yaml_file import Node

_FINDS_RESOURCES = ("aws",)  # providers that know what a machine has by its type
_ONLY_FOR_LOCAL = "min_workers"  # which Ray takes for hosts of one's own, though its schema does not
_IDENTITY = ("type", "region", "availability_zone", "project_id", "head_ip", "coordinator_address")


@dataclass(frozen=True)
class NodeType:
    """Nodes of one kind. ``least`` and ``most``: how many; ``market``: spot or on demand, "" where it is no
    question; ``resources`` of each, in Ray's names, as far as the file says."""

    name: str
    least: int
    most: int
    machine: str
    market: str
    resources: Mapping[str, float]


@dataclass(frozen=True)
class LauncherFile:
    """``values`` are the file's with ``--set``; ``whole`` has Ray's defaults too."""

    path: FilePath
    values: dict[str, Any]
    whole: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.values["cluster_name"])

    @property
    def provider(self) -> str:
        return str(self.values["provider"]["type"])

    @property
    def identity(self) -> dict[str, Any]:
        """What makes another cluster of it, if it is changed."""
        return identity(self.values)

    @property
    def most_workers(self) -> int:
        """Nodes there may be at a time beside the head."""
        return int(self.whole["max_workers"])

    @property
    def nodes(self) -> list[NodeType]:
        """The head first. The head's own kind may have workers too."""
        if self.provider == "local":
            return _own_hosts(self.whole)
        head = self.whole["head_node_type"]
        kinds = self.whole["available_node_types"]
        first = _node_type("head" if head == "head" else f"head, {head}", kinds[head], self.provider, 1, 1)
        others = [
            _node_type(name, kind, self.provider, kind["min_workers"], self._most(kind))
            for name, kind in kinds.items()
        ]
        return [first, *(node for node in others if node.most)]

    @property
    def offers(self) -> list[Offer]:
        """What there is for trials at most."""
        named = self.provider not in ("local", *_FINDS_RESOURCES)
        return [Offer(node.name, node.most, node.resources, named) for node in self.nodes]

    def _most(self, kind: Mapping[str, Any]) -> int:
        return min(int(kind["max_workers"]), self.most_workers)


def identity(values: Mapping[str, Any]) -> dict[str, Any]:
    provider = values["provider"]
    return {"cluster_name": values["cluster_name"]} | {k: provider[k] for k in _IDENTITY if k in provider}


def read_launcher(path: FilePath, sets: Sequence[str] = ()) -> LauncherFile:
    """Raises ClusterError holding every mistake found."""
    import yaml  # type: ignore[import-untyped]

    [tree] = read_documents(path)
    values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    given = [(put(values, text), text) for text in sets]
    if mistakes := [Mistake(_place(tree, given, found), str(found)) for found in _wrong(values)]:
        raise ClusterError(str(SpecError(mistakes)))
    return LauncherFile(path, values, _whole(path, values))


def _place(tree: Node, given: Sequence[tuple[Path, str]], found: Finding) -> Place:
    """Where a mistake was made: in the last ``--set`` that made it, else in the file."""
    at = found.path
    for path, text in reversed(given):
        if at[: len(path)] == path or (path[: len(at)] == at and not _leads(tree, at)):
            return Place(f"--set {text}")
    return tree.locate(at, at_key=found.at_key)


def _leads(tree: Node, path: Path) -> bool:
    value = tree.plain()
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _wrong(values: dict[str, Any]) -> Iterator[Finding]:
    """Everything that keeps Ray from taking the values, as far as it can be told without asking it."""
    from ray.autoscaler._private.providers import _NODE_PROVIDERS

    yield from _against_schema(values)
    provider = values.get("provider")
    kind = provider.get("type") if isinstance(provider, dict) else None
    if not isinstance(provider, dict) or not isinstance(kind, str):
        return
    if not _NODE_PROVIDERS.get(kind):
        known = [name for name in _NODE_PROVIDERS if _NODE_PROVIDERS[name]]
        message = f"found {show(kind)}{nearest(kind, known)} (Ray knows: {', '.join(known)})"
        yield Finding(("provider", "type"), message)
    elif kind == "local":
        yield from _wrong_of_local(values, provider)
    elif kind != "external":
        for key in ("available_node_types", "head_node_type"):
            if key not in values:
                yield Finding((), f"{key} is missing: it says what machines there are")


def _against_schema(values: dict[str, Any]) -> Iterator[Finding]:
    from jsonschema import Draft7Validator  # type: ignore[import-untyped]
    from ray import autoscaler

    schema = json.loads(FilePath(autoscaler.__file__).with_name("ray-schema.json").read_text())
    read = deepcopy(values)
    _forgive(read)
    for error in Draft7Validator(schema).iter_errors(read):
        at = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            allowed = error.schema.get("properties", {})
            for name in [name for name in error.instance if name not in allowed]:
                yield Finding((*at, name), unknown_key(str(name), allowed), at_key=True)
        elif error.validator == "type":
            yield Finding(at, f"found {show(error.instance)} (allowed: {error.validator_value})")
        else:
            yield Finding(at, error.message)


def _wrong_of_local(values: Mapping[str, Any], provider: Mapping[str, Any]) -> Iterator[Finding]:
    for key in ("head_node", "worker_nodes", "available_node_types"):
        if key in values:
            yield Finding((key,), "is not for hosts of one's own, which are what they are", at_key=True)
    if "coordinator_address" in provider:
        return
    if not isinstance(provider.get("head_ip"), str):
        yield Finding(("provider", "head_ip"), "must be the address of the host that is to be the head")
    hosts = provider.get("worker_ips")
    if hosts is None or (isinstance(hosts, list) and not all(isinstance(host, str) for host in hosts)):
        yield Finding(("provider", "worker_ips"), "must be a list of the other hosts' addresses")


def _forgive(values: dict[str, Any]) -> None:
    """Make the values such as Ray makes them before it looks at its schema."""
    provider = values.get("provider")
    kind = provider.get("type") if isinstance(provider, dict) else None
    if kind == "local":
        values.pop(_ONLY_FOR_LOCAL, None)
    types = values.get("available_node_types") if kind in _FINDS_RESOURCES else None
    for node_type in types.values() if isinstance(types, dict) else ():
        if isinstance(node_type, dict):
            node_type.setdefault("resources", {})


def _whole(path: FilePath, values: dict[str, Any]) -> dict[str, Any]:
    """The values as Ray completes them. Raises ClusterError for what only Ray sees."""
    import click
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    said = io.StringIO()
    logging.getLogger("ray.autoscaler._private.util").setLevel(logging.WARNING)  # it tells each default
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            whole: dict[str, Any] = prepare_config(deepcopy(values))
            checked = deepcopy(whole)
            _forgive(checked)
            validate_config(checked)
    except ValidationError as error:
        raise ClusterError(f"{path}: Ray refuses it: {error.message}") from None
    except (AssertionError, ValueError, RuntimeError, click.ClickException) as error:
        raise ClusterError(f"{path}: Ray refuses it: {error}") from None
    return whole


def _own_hosts(whole: Mapping[str, Any]) -> list[NodeType]:
    provider = whole["provider"]
    if "coordinator_address" in provider:
        most = int(whole["max_workers"])
        return [NodeType("head", 1, 1, "", "", {}), NodeType("workers", 0, most, "", "", {})]
    kind = next(iter(whole["available_node_types"].values()))
    head = NodeType("head", 1, 1, provider["head_ip"], "", {})
    hosts = ", ".join(provider["worker_ips"])
    workers = NodeType("workers", kind["min_workers"], kind["max_workers"], hosts, "", {})
    return [head, workers] if hosts else [head]


def _node_type(name: str, kind: Mapping[str, Any], provider: str, least: int, most: int) -> NodeType:
    config = kind.get("node_config") or {}
    machine = config.get("InstanceType") or config.get("machineType") or ""
    market = ""
    if provider in ("aws", "gcp"):
        market = "spot" if _is_spot(config) else "on demand"
    return NodeType(name, least, most, str(machine), market, kind.get("resources") or {})


def _is_spot(config: Mapping[str, Any]) -> bool:
    if "InstanceMarketOptions" in config:  # AWS
        return bool(config["InstanceMarketOptions"].get("MarketType") == "spot")
    scheduling = config.get("scheduling") or []  # Google: one mapping, or a list of them
    parts = [scheduling] if isinstance(scheduling, dict) else scheduling
    return any(part.get("preemptible") or part.get("provisioningModel") == "SPOT" for part in parts)
