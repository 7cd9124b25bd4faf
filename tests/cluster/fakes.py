"""Cluster files to try things on, and the program `ray` that only writes down what it is asked."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

HOSTS = """\
cluster_name: hosts
provider:
  type: local
  head_ip: 10.0.0.1
  worker_ips: [10.0.0.2, 10.0.0.3]
auth: {ssh_user: me}
file_mounts:
  ~/ablate/ablate: ablate
  ~/.ray/auth_token: ~/.ray/auth_token
setup_commands: [make]
"""
AWS = """\
cluster_name: rented
max_workers: 3
provider: {type: aws, region: us-west-2}
auth: {ssh_user: ubuntu}
head_node_type: head
available_node_types:
  head:
    resources: {CPU: 0}
    node_config: {InstanceType: m7i.large}
  gpu.large:
    max_workers: 8
    resources: {CPU: 4, GPU: 1}
    node_config: {InstanceType: g6.xlarge, InstanceMarketOptions: {MarketType: spot}}
file_mounts:
  ~/ablate/ablate: ablate
  ~/.ray/auth_token: ~/.ray/auth_token
"""
SWEEP = """\
name: tiny
question: Does it run?
base:
  data: {kind: digits, train: 200, test: 100}
  encoder: {kind: pixels}
  head: {kind: none}
  optim: {kind: sgd, epochs: 0}
space:
  optim.lr: {float: [0.1, 1]}
search: {trials: 3}
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _gone(process: int) -> bool:
    try:
        return bool(psutil.Process(process).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(process: int) -> None:
    """Fails if it is still there after a minute."""
    deadline = time.monotonic() + 60
    while not _gone(process):
        assert time.monotonic() < deadline, f"{process} still runs"
        time.sleep(0.02)


class FakeRay:
    """The program, once ``install`` has put it in the place of the real one."""

    def __init__(self, folder: Path) -> None:
        self._calls = folder / "calls.jsonl"
        self.program = write(
            folder / "ray",
            f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("fake_ray.py")} "$@"\n',
        )
        self.program.chmod(0o755)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr("ablate.cluster.launcher.RAY", self.program)
        patch.setenv("FAKE_RAY_CALLS", str(self._calls))

    @property
    def calls(self) -> list[dict[str, Any]]:
        lines = self._calls.read_text().split("\n")[:-1] if self._calls.exists() else []
        return [json.loads(line) for line in lines]

    @property
    def words(self) -> list[list[str]]:
        return [call["words"] for call in self.calls]
