"""What an autoscaler can bring is read from the file that it was started with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ablate.sweep import autoscaler
from ablate.sweep.autoscaler import NodeType

FILE: dict[str, Any] = {
    "cluster_name": "c",
    "max_workers": 6,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 0}, "max_workers": 0},
        "gpu": {"resources": {"CPU": 8, "GPU": 1}, "min_workers": 0, "max_workers": 4},
        "cpu": {"resources": {"CPU": 16}},
    },
}


def test_it_is_found_by_its_cluster_and_file(tmp_path: Path) -> None:
    """A process with the arguments that Ray gives it."""
    file = tmp_path / "cluster.yaml"
    file.write_text(json.dumps(FILE))
    program = "print(flush=True); input()"
    waits = [sys.executable, "-c", program, "--gcs-address=10.9.8.7:6379", f"--autoscaling-config={file}"]
    with subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it runs
        assert autoscaler._config("10.9.8.7:6379") == FILE
        assert autoscaler._config("10.9.8.8:6379") is None
        process.communicate(b"\n")


def test_node_types_say_what_they_have_and_how_many_there_can_be() -> None:
    assert autoscaler._types(FILE) == (
        NodeType("gpu", {"CPU": 8.0, "GPU": 1.0}, 4),
        NodeType("cpu", {"CPU": 16.0}, 6),
    )


@pytest.mark.parametrize(
    "types", [{"local.cluster.node": {"resources": {}}}, {"gpu": {"resources": {"GPU": 1}}}, None]
)
def test_types_that_say_nothing_of_their_cpus_are_not_known(types: Any) -> None:
    assert autoscaler._types({**FILE, "available_node_types": types}) is None


@pytest.mark.parametrize(
    ("status", "there"),
    [
        (None, False),
        ({"autoscaler_report": None}, False),
        ({"autoscaler_report": {"active_nodes": {"node_abc": 1}}}, False),
        ({"autoscaler_report": {"active_nodes": {"ray.head.default": 1}}}, True),
    ],
)
def test_from_another_machine_it_is_known_by_the_types_that_it_reports(
    monkeypatch: pytest.MonkeyPatch, status: dict[str, Any] | None, there: bool
) -> None:
    """Ray's monitor, which runs without an autoscaler too, names each node by its id."""
    monkeypatch.setattr(autoscaler, "is_autoscaler_v2", lambda **_: False)
    monkeypatch.setattr("ray.nodes", lambda: [{"NodeID": "abc"}])
    text = None if status is None else json.dumps(status).encode()
    monkeypatch.setattr(autoscaler, "_internal_kv_get", lambda _: text)
    assert autoscaler._brings_nodes() == there
