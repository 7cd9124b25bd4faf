"""Why a process died, in one line that begins with the kind: out of memory, lost node, or crash.

Ray says so in prose, and what it says of a process that was killed is the same whoever killed it. The kernel
counts the processes it kills for want of memory, so whether it did is read from that count.
"""

from __future__ import annotations

import re
from pathlib import Path

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_MEMORY_MONITOR = re.compile(r"was (?P<used>\S+) used / (?P<limit>\S+) limit")
_LOST_NODE = re.compile(r"node has died|node died|is unavailable|node was (?:terminated|removed)", re.I)
_PROCESS_GONE = re.compile(r"worker process has died|connection error code 2", re.I)

_PATIENCE = 10.0  # seconds


def why(text: str, *, killed_by_kernel: bool) -> str:
    """``text`` is Ray's account of the death of a process; ``killed_by_kernel``: see ``oom_kills``."""
    if "running low on memory" in text or "OutOfMemoryError" in text:
        found = _MEMORY_MONITOR.search(text)
        used = f" ({found['used']} of {found['limit']} in use there)" if found else ""
        return f"out of memory: Ray ended it before its node{used} ran out"
    if killed_by_kernel:
        return "out of memory: the kernel killed a process on its node"
    if _LOST_NODE.search(text):
        return "lost node: the machine it ran on is gone or cannot be reached"
    if _PROCESS_GONE.search(text):
        return "crash: its process was killed or died of a fatal error"
    lines = text.strip().splitlines()
    return f"crash: {lines[-1].strip()[:300] if lines else 'no reason given'}"


def oom_kills(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """How many processes the kernel has killed so far for want of memory: in this container if its control
    group counts, else on this machine; 0 where neither can be read."""
    for file in (cgroups / _control_group(proc) / "memory.events", proc / "vmstat"):
        try:
            return int(dict(line.split() for line in file.read_text().splitlines())["oom_kill"])
        except (OSError, ValueError, KeyError):
            continue
    return 0


def kills_on(node: str) -> int | None:
    """``oom_kills`` of the Ray node with this id; None if it does not answer soon."""
    if node == ray.get_runtime_context().get_node_id():
        return oom_kills()
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    asked = ray.remote(num_cpus=0, max_retries=0)(oom_kills).options(scheduling_strategy=there).remote()
    try:
        return int(ray.get(asked, timeout=_PATIENCE))
    except (RayError, GetTimeoutError):
        return None


def _control_group(proc: Path) -> str:
    try:
        return (proc / "self/cgroup").read_text().strip().rpartition("::/")[2]
    except OSError:
        return ""


def memory_held(proc: Path = Path("/proc")) -> int:
    """Bytes of main memory that this process holds; 0 where that cannot be read."""
    try:
        status = (proc / "self/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)
    return int(found[1]) * 1024 if found else 0
