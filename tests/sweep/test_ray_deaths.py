"""Why a process died, told from what Ray 2.60 says (texts as recorded) and from what the kernel counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.sweep.deaths import memory_held, oom_kills, why

KILLED = """The actor died unexpectedly before finishing this task.
\tclass_name: Slot
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail:
Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the
process was killed by the OOM killer due to high memory usage, (2) ray stop --force was called, or (3) ..."""
MONITOR = """1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 192.0.2.2,
ID: 05698936) was 8.38GB used / 23.59GB limit (0.355440)
OOM kill reason: Memory usage 8977014784B exceeded threshold of 8863841280B"""
UNREACHABLE = (
    "The actor 5cb1 is unavailable: The actor is temporarily unavailable: RpcError: RPC error: Socket closed"
)
NODE = "The actor died because its node has died. Node Id: 2f7296a9"


def test_a_process_that_was_killed_is_out_of_memory_only_if_the_kernel_counted_one_more() -> None:
    assert why(KILLED, killed_by_kernel=False) == "crash: its process was killed or died of a fatal error"
    assert why(KILLED, killed_by_kernel=True) == "out of memory: the kernel killed a process on its node"


def test_rays_memory_monitor_is_named_with_its_figures() -> None:
    reason = why(MONITOR, killed_by_kernel=False)
    assert reason == ("out of memory: Ray ended it before its node (8.38GB of 23.59GB in use there) ran out")
    assert why("OutOfMemoryError: no figures", killed_by_kernel=False).startswith("out of memory: Ray ended")


@pytest.mark.parametrize("text", [UNREACHABLE, NODE])
def test_a_lost_node_is_told_from_a_crash(text: str) -> None:
    assert why(text, killed_by_kernel=False).startswith("lost node: ")


def test_of_anything_else_the_last_line_is_given() -> None:
    trace = "Traceback:\n  File x\nModuleNotFoundError: No module named 'torch'\n"
    assert why(trace, killed_by_kernel=False) == "crash: ModuleNotFoundError: No module named 'torch'"
    assert why(" \n", killed_by_kernel=False) == "crash: no reason given"


def test_the_control_group_counts_before_the_machine(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    assert oom_kills(proc, groups) == 0
    (proc / "self").mkdir(parents=True)
    (proc / "vmstat").write_text("pgfault 12\noom_kill 7\n")
    assert oom_kills(proc, groups) == 7
    (proc / "self/cgroup").write_text("0::/user.slice/job\n")
    (groups / "user.slice/job").mkdir(parents=True)
    (groups / "user.slice/job/memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert oom_kills(proc, groups) == 2


def test_the_memory_of_this_process_is_read() -> None:
    before = memory_held()
    held = bytearray(b"x" * 2**26)
    assert memory_held() - before > 2**25
    assert len(held) == 2**26
