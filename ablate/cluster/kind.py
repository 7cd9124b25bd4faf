"""What can be done with a cluster, whatever its kind; and the sweep that is sent to one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class ClusterError(Exception):
    """The cluster cannot do what was asked; the message says why and what to do."""


@dataclass(frozen=True)
class Submission:
    """A sweep for a cluster. It begins there, or goes on where it has begun.

    ``project`` is the folder that is shipped, ``file`` the sweep's file relative to it, ``runs`` the folder
    of runs there, ``storage`` a URL (see ``ablate.sweep.storage``) or None, ``sets`` are ``--set`` values.
    """

    name: str
    project: Path
    file: Path
    runs: str
    storage: str | None = None
    sets: tuple[str, ...] = ()

    def command(self, *, address: str | None = "auto") -> list[str]:
        """The command that runs on the cluster; ``address``: of Ray there, None starts one."""
        words = ["ablate", "sweep", self.file.as_posix(), "--resume", "--runs", self.runs]
        words += ["--address", address] if address else []
        words += ["--storage", self.storage] if self.storage else []
        for value in self.sets:
            words += ["--set", value]
        return words


class Cluster(Protocol):
    """One cluster file. Methods raise ClusterError.

    ``dry_run`` prints what would be done, created or removed, and touches nothing outside this machine.
    """

    path: Path

    def up(self, *, dry_run: bool) -> None: ...

    def down(self, *, dry_run: bool) -> None: ...

    def status(self) -> str:
        """For people: nodes, what they have, and the sweeps that were submitted."""
        ...

    def submit(self, submission: Submission, *, dry_run: bool) -> str:
        """Send a sweep and return the name of its job, by which ``logs`` and the cluster's own tools know
        it. Sending one that runs already is refused; it goes on after this process has ended."""
        ...

    def logs(self, name: str, *, follow: bool) -> Iterator[str]:
        """What the newest job of the sweep has printed so far, and, following, what it prints until its end;
        then ClusterError if it failed."""
        ...
