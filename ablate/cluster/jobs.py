"""Sweeps as Ray jobs: sending them, following them, what became of them, over the API on a head's loopback.

A sweep's jobs are called ``<sweep>-1``, ``<sweep>-2``, ...: a stopped one goes on as the next. The number
also decides between two people who send the same sweep at the same moment: Ray takes a name only once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shlex
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.cluster.kind import ClusterError, Submission
from ablate.cluster.room import Offer
from ablate.cluster.token import PLACE, read_token

_SWEEP, _RUNS, _DIGEST = "sweep", "runs", "digest"  # of a job's metadata
_LOOKING = "looking"
_OVERRIDES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")  # which Ray's clients prefer to what they are told
_PROXIES = ("no_proxy", "NO_PROXY")
_LEAVE = 600  # seconds that a job which is stopped has to save its trials; Ray's own are 3
_AGENT = 60.0  # seconds that the head's agent, which starts jobs, has to come up
_LOOK = 60.0  # seconds that `ablate status` has on the head
_GONE = "the connection to the head is lost ({}); the sweep goes on without it"


@dataclass(frozen=True)
class Job:
    """A sweep's job. ``state``: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED; times in Unix seconds."""

    id: str
    sweep: str
    runs: str
    state: str
    began: float | None
    ended: float | None

    @property
    def number(self) -> int:
        """Of the sweep's jobs, from 1."""
        return int(self.id.rpartition("-")[2])

    @property
    def over(self) -> bool:
        return self.state in ("STOPPED", "SUCCEEDED", "FAILED")


@dataclass(frozen=True)
class Node:
    address: str
    head: bool
    resources: dict[str, float]


def entrypoint(submission: Submission) -> str:
    """The shell's line that runs the sweep. A leading ``~`` is that of the cluster's user."""
    return " ".join(_quoted(word) for word in submission.command())


class Jobs:
    """The sweeps' jobs of the cluster whose head answers at ``address``. Methods raise ClusterError."""

    def __init__(self, address: str) -> None:
        from ray.job_submission import JobSubmissionClient

        self._address, self._headers = address, {"Authorization": f"Bearer {read_token()}"}
        for module in ("dashboard_sdk", "job.sdk"):  # they tell each package and connection
            logging.getLogger(f"ray.dashboard.modules.{module}").setLevel(logging.WARNING)
        with _told():
            self._client = JobSubmissionClient(address, headers=dict(self._headers))

    def all(self) -> list[Job]:
        """In the order in which they began."""
        with _told():
            found = [
                _job(details) for details in self._client.list_jobs() if _SWEEP in (details.metadata or {})
            ]
        return sorted(found, key=lambda job: job.began or 0)

    def submit(self, submission: Submission, package: Path, digest: str) -> str:
        """Send a sweep with its project, an archive. Returns the job's name."""
        earlier = [job for job in self.all() if job.sweep == submission.name]
        if running := [job for job in earlier if not job.over]:
            raise ClusterError(
                f"{submission.name}: {running[-1].id} is {running[-1].state} already, and a sweep has one "
                f"driver; see it with `ablate cluster logs FILE {submission.name} --follow`"
            )
        number = 1 + max((job.number for job in earlier), default=0)
        with _told():
            return self._submit(
                entrypoint=entrypoint(submission),
                submission_id=f"{submission.name}-{number}",
                runtime_env={
                    "working_dir": str(package),
                    "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(_LEAVE)},
                },
                metadata={_SWEEP: submission.name, _RUNS: submission.runs, _DIGEST: digest},
            )

    def _submit(self, **job: Any) -> str:
        """Send a job. The agent of a head that has only just come up, or is busy, answers a little later."""
        deadline = time.monotonic() + _AGENT
        while True:
            try:
                return str(self._client.submit_job(**job))
            except RuntimeError as error:
                if "No available agent" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def logs(self, sweep: str, *, follow: bool) -> Iterator[str]:
        """See ``Cluster.logs``; pieces of text as they come."""
        known = self.all()
        of_sweep = [job for job in known if job.sweep == sweep]
        if not of_sweep:
            names = ", ".join(dict.fromkeys(job.sweep for job in known)) or "none"
            raise ClusterError(f"no sweep called {sweep} was submitted to this cluster (submitted: {names})")
        name = max(of_sweep, key=lambda job: job.number).id
        if follow:
            yield from self._tail(name)
        else:
            with _told():
                said = self._client.get_job_logs(name)
            yield said
        with _told():
            details = self._client.get_job_info(name)
        match str(details.status.value):
            case "FAILED":
                status = details.driver_exit_code
                why = details.message if status is None else f"it ended with exit status {status}; see above"
                raise ClusterError(f"{name} failed: {why}")
            case "STOPPED":
                raise ClusterError(f"{name} was stopped; submit the sweep again and it goes on")
            case "PENDING" | "RUNNING" if follow:
                raise ClusterError(_GONE.format("its output ended early"))

    def nodes(self) -> list[Node]:
        """Those that are alive, the head first."""
        from ray.util.state.api import StateApiClient
        from ray.util.state.common import ListApiOptions, StateResource

        with _told():
            client = StateApiClient(self._address, headers=dict(self._headers))
            found = client.list(
                StateResource.NODES, ListApiOptions(limit=10_000), raise_on_missing_output=False
            )
        alive = [node for node in found if node.state == "ALIVE"]
        nodes = [Node(node.node_ip, node.is_head_node, dict(node.resources_total)) for node in alive]
        return sorted(nodes, key=lambda node: (not node.head, node.address))

    def offers(self) -> list[Offer]:
        """What the living nodes have."""
        return [Offer("head" if node.head else node.address, 1, node.resources) for node in self.nodes()]

    def progress(self, runs: str) -> list[dict[str, Any]]:
        """What `ablate status --json` says on the head of the sweeps in its folder ``runs``.

        It is a job itself, of a second or two, and removed afterwards.
        """
        with _told():
            name = self._submit(
                entrypoint=f"ablate status --json --runs {_quoted(runs)}",
                submission_id=f"{_LOOKING}-{uuid.uuid4().hex[:12]}",
                metadata={_LOOKING: runs},
            )
            try:
                deadline = time.monotonic() + _LOOK
                while not (status := self._client.get_job_status(name)).is_terminal():
                    if time.monotonic() > deadline:
                        self._client.stop_job(name)
                        raise ClusterError(f"`ablate status` has not answered within {_LOOK:g} seconds")
                    time.sleep(0.2)
                said = self._client.get_job_logs(name)
            finally:
                with contextlib.suppress(RuntimeError):  # one that is being stopped stays
                    self._client.delete_job(name)
        start = said.rfind("\n[")  # where its list begins; Ray may print above it
        if status.value != "SUCCEEDED" or start < 0:
            lines = said.strip().splitlines()
            raise ClusterError(f"`ablate status` failed: {lines[-1] if lines else 'it said nothing'}")
        return list(json.loads(said[start:]))

    def _tail(self, name: str) -> Iterator[str]:
        import aiohttp

        async def piece() -> str | None:
            return await anext(pieces, None)

        with asyncio.Runner() as runner:
            pieces = self._client.tail_job_logs(name)
            try:
                while (text := runner.run(piece())) is not None:
                    yield text
            except (RuntimeError, OSError, aiohttp.ClientError) as error:
                raise ClusterError(_GONE.format(" ".join(str(error).split()))) from error


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Ray's client asks the address that it was given, without a proxy; its errors are said in our words."""
    import aiohttp
    import requests
    from ray.exceptions import AuthenticationError
    from ray.util.state.exception import RayStateApiException

    before = {name: os.environ.get(name) for name in (*_OVERRIDES, *_PROXIES)}
    for name in _OVERRIDES:
        os.environ.pop(name, None)
    for name in _PROXIES:
        os.environ[name] = ",".join(filter(None, [before[name], "127.0.0.1"]))
    try:
        yield
    except AuthenticationError as error:
        raise ClusterError(
            f"the cluster does not take the token in {PLACE}: it was brought up with another; copy that one "
            "here"
        ) from error
    except (requests.RequestException, aiohttp.ClientError, ConnectionError, RayStateApiException) as error:
        raise ClusterError(_GONE.format(" ".join(str(error).split())[:200])) from error
    except RuntimeError as error:
        raise ClusterError(f"Ray's job server says: {' '.join(str(error).split())[-600:]}") from error
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _job(details: Any) -> Job:
    return Job(
        id=details.submission_id,
        sweep=details.metadata[_SWEEP],
        runs=details.metadata.get(_RUNS, ""),
        state=str(details.status.value),
        began=None if details.start_time is None else details.start_time / 1000,
        ended=None if details.end_time is None else details.end_time / 1000,
    )


def _quoted(word: str) -> str:
    return f"~/{shlex.quote(word[2:])}" if word.startswith("~/") else shlex.quote(word)
