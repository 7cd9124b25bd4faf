"""Suites in seconds: their contenders run in this process."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ablate.bench.figures import Contender, Measured


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Contenders run in this process, but go there as they would to another."""

    def run_here(contender: Contender) -> Measured:
        return pickle.loads(pickle.dumps(contender)).run(Path(tempfile.mkdtemp(dir=tmp_path)))

    for module in ("figures", "load_suite", "start_suite", "memory_suite"):
        monkeypatch.setattr(f"ablate.bench.{module}.run_alone", run_here)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
