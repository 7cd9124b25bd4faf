"""What is said of a cluster: the nodes that a file asks for, those that are there, jobs and sweeps."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.cluster.jobs import Job, Node
from ablate.cluster.launcher_file import LauncherFile, NodeType
from ablate.durable import in_words

_COMMANDS = (
    "initialization_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
_ACCELERATOR = "accelerator_type:"


def plan(file: LauncherFile, mounts: Mapping[str, str], *, again: bool) -> list[str]:
    """What `up` would create; ``mounts``: path on the nodes -> path here; ``again``: it was up before."""
    provider = file.values["provider"]
    where = [provider.get(key) for key in ("type", "region", "project_id", "availability_zone")]
    lines = [
        f"cluster {file.name}, provider {' '.join(str(w) for w in where if w)}, from {file.path}",
        "nodes:",
        *(f"  {_type(node)}" for node in file.nodes),
        *_scaling(file),
        "copied to every node:",
        *(f"  {remote} <- {local}" for remote, local in mounts.items()),
    ]
    for key in _COMMANDS:
        if commands := file.whole.get(key):
            lines += [f"{key}:", *(f"  {command}" for command in commands)]
    if again:
        lines.append(
            "If it runs, Ray on it restarts, and sweeps that run there end (submit them again); a head whose "
            "machine is another now is replaced, with its disk."
        )
    if file.provider != "local":
        lines.append("Prices are not known here: see the provider's for these machines, disks and traffic.")
    return [*lines, "Nothing has been created."]


def _scaling(file: LauncherFile) -> list[str]:
    if file.provider == "local":
        return []
    idle = file.whole["idle_timeout_minutes"]
    return [f"  together at most {1 + file.most_workers}; a worker goes after {idle:g} idle minutes"]


def status(name: str, path: Path, nodes: Sequence[Node], jobs: Sequence[Job]) -> list[str]:
    """The cluster and what was sent to it."""
    lines = [f"{name} ({path})", "nodes:", *(f"  {_node(node)}" for node in nodes)]
    return [*lines, "jobs:", *([f"  {_job(job)}" for job in jobs] or ["  none"])]


def sweep(found: Mapping[str, Any]) -> str:
    """One of the sweeps that `ablate status --json` lists."""
    head = f"{found['name']}: {found['state']}"
    if found["error"]:
        return f"{head}: {found['error']}"
    best = "" if found["value"] is None else f", best {found['objective']} {found['value']:.4f}"
    states = ", ".join(f"{count} {state.lower()}" for state, count in (found["counts"] or {}).items())
    done = f"{found['done']} of {found['planned']} trials done ({states or 'none asked'})"
    return f"{head}, {found['stage'] or 'not begun'}, {done}{best}"


def _type(node: NodeType) -> str:
    count = str(node.least) if node.least == node.most else f"{node.least} to {node.most}"
    has = ", ".join(f"{name} {amount:g}" for name, amount in node.resources.items())
    about = ", ".join(filter(None, [node.machine, node.market, has]))
    return f"{node.name}: {count}" + (f" ({about})" if about else "")


def _node(node: Node) -> str:
    has = [f"{name} {node.resources[name]:g}" for name in ("CPU", "GPU") if name in node.resources]
    has += [name.removeprefix(_ACCELERATOR) for name in node.resources if name.startswith(_ACCELERATOR)]
    has.append(f"{in_words(node.resources.get('memory', 0))} of memory")
    return f"{node.address}{' (head)' if node.head else ''}: {', '.join(has)}"


def _job(job: Job) -> str:
    return f"{job.id} {job.state}{_at(' from', job.began)}{_at(' to', job.ended)}"


def _at(word: str, moment: float | None) -> str:
    return "" if moment is None else time.strftime(f"{word} %Y-%m-%d %H:%M", time.localtime(moment))
