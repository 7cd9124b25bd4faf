"""For all tests: signals as on a terminal, no limit on how long an example of a property may take, and which
tests may run at the same time: files, but for those that start clusters, which run one after the other."""

from __future__ import annotations

import signal
from pathlib import PurePosixPath

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

CLUSTERS = ("tests/cluster", "tests/sweep", "tests/cli/test_cluster.py", "tests/bench/test_sweep_suite.py")


# A shell that starts the tests in the background has them ignore Ctrl-C, and so whatever they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def interruptible() -> None:
    """Whatever the test before did."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Files(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "clusters" if any(PurePosixPath(file).is_relative_to(c) for c in CLUSTERS) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Files:
    return Files(config, log)
