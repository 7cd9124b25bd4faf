"""Clusters of Ray's launcher (`ray up`): AWS, Google, hosts of one's own.

Everything is done by Ray's public command line and its Jobs API. What is added is what a file cannot do: have
a token, find its paths, and still mean the cluster that it brought up after it was edited.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.cluster import package, words
from ablate.cluster.jobs import Jobs, entrypoint
from ablate.cluster.kind import ClusterError, Submission
from ablate.cluster.launcher_file import identity, read_launcher
from ablate.cluster.remembered import beside, keep
from ablate.cluster.room import too_large
from ablate.cluster.token import PLACE, ensure_token, read_token
from ablate.cluster.tunnel import tunnel
from ablate.durable import in_words
from ablate.spec import load_sweep
from ablate.spec.identity import digest
from ablate.spec.sweep import Resources

RAY = Path(sys.executable).with_name("ray")
_DASHBOARD = 8265
_NEEDED = {"aws": ("boto3", "boto3"), "gcp": ("googleapiclient", "google-api-python-client")}
_STAYS = {
    "aws": "the bucket, the key pair, and the roles and security groups made for it in the account",
    "gcp": "the bucket, and the service accounts and firewall rules made for it in the project",
    "local": "on each host the project with its environment, built data and ~/.ray/auth_token, on the head "
    "the runs",
}
_WORKERS = """\
import pathlib, yaml
told = yaml.safe_load((pathlib.Path.home() / "ray_bootstrap_config.yaml").read_text())
print(*told["provider"].get("worker_ips") or ())"""
_UNKNOWN = "whatever the provider keeps beside its machines"


class LauncherCluster:
    """The cluster of a file that `ray up` takes."""

    def __init__(self, path: Path, sets: Sequence[str] = ()) -> None:
        self.path = path
        self._file = read_launcher(path, sets)

    def up(self, *, dry_run: bool) -> None:
        self._check_same()
        mounts = self._mounts()
        self._check_mounts(mounts)
        if dry_run:
            again = beside(self.path, ".yaml").exists()
            print("\n".join(words.plan(self._file, mounts, again=again)))
            return
        self._check_tools()
        for line in ensure_token():
            print(line)
        resolved = keep(self.path, ".yaml", self._text(mounts))
        if status := _ray("up", "--yes", "--no-config-cache", str(resolved)):
            raise ClusterError(
                f"`ray up` ended with exit status {status}; see above. What it had started is there, and "
                f"costs: mend the file and try again, or ablate cluster down {self.path}"
            )
        print(
            f"\n{self._file.name} is up. To run a sweep: ablate cluster submit {self.path} SWEEP. To take it "
            f"down: ablate cluster down {self.path}. Ray's own commands take {resolved}"
        )

    def down(self, *, dry_run: bool) -> None:
        self._check_same()
        stays = _STAYS.get(self._file.provider, _UNKNOWN)
        if dry_run:
            print(f"{self._file.name}: its nodes would end, and what only they hold is lost. Left: {stays}.")
            return
        with self._for_ray() as resolved:
            if self._file.provider == "local":
                self._stop_hosts(resolved)
            if status := _ray("down", "--yes", str(resolved)):
                raise ClusterError(
                    f"`ray down` ended with exit status {status}; see above. Nodes may still run, and cost: "
                    "try again, and look at the provider's console"
                )
        print(f"\n{self._file.name} is down. Left: {stays}.")

    def _stop_hosts(self, resolved: Path) -> None:
        """`ray down` takes hosts of one's own for stopped, whether or not SSH got to the head, and never goes
        to the workers, where a part of Ray would stay for good."""
        if _ray("exec", "--no-config-cache", str(resolved), stop_hosts(self._file.values)):
            raise ClusterError(
                f"{self._file.name}: Ray on the head could not be stopped; see above. Nothing is forgotten: "
                f"try again, or, if that machine is gone, delete {resolved}"
            )

    def status(self) -> str:
        with self._jobs() as jobs:
            submitted = jobs.all()
            lines = words.status(self._file.name, self.path, jobs.nodes(), submitted)
            for runs in dict.fromkeys(job.runs for job in submitted):
                lines.append(f"sweeps in {runs}:")
                try:
                    lines += [f"  {words.sweep(sweep)}" for sweep in jobs.progress(runs)]
                except ClusterError as error:
                    lines.append(f"  not known: {error}")
        return "\n".join(lines)

    def submit(self, submission: Submission, *, dry_run: bool) -> str:
        project = submission.project
        sweep = load_sweep(project / submission.file, submission.sets)
        if why := too_large(sweep.resources, self._file.offers, most=1 + self._file.most_workers):
            raise ClusterError(f"{self.path}: {why}")
        files = package.files_of(project)
        if submission.file not in files:
            raise ClusterError(
                f"{submission.file}: is not shipped, since .gitignore or .rayignore names it; keep it "
                f"elsewhere in {project}"
            )
        size = package.check_size(project, files, package.most_bytes())
        ships = f"{project}: {len(files)} files, {in_words(size)}"
        if dry_run:
            print(f"cluster: {self._file.name}\nships: {ships}\nruns there: {entrypoint(submission)}")
            return submission.name
        with self._jobs() as jobs, tempfile.TemporaryDirectory(prefix="ablate-") as folder:
            if self._file.provider == "local":
                self._check_hosts(jobs, sweep.resources)
            archive = Path(folder) / "project.zip"
            package.pack(project, files, archive)
            print(f"shipping {ships}")
            return jobs.submit(submission, archive, digest(sweep.as_dict()))

    def logs(self, name: str, *, follow: bool) -> Iterator[str]:
        with self._jobs() as jobs:
            yield from jobs.logs(name, follow=follow)

    @contextlib.contextmanager
    def _jobs(self) -> Iterator[Jobs]:
        self._check_same()
        read_token()  # before anything is connected
        with self._for_ray() as resolved:

            def forward(port: int) -> list[str]:
                ports = ["--port", str(port), "--remote-port", str(_DASHBOARD)]
                return [str(RAY), "dashboard", "--no-config-cache", *ports, str(resolved)]

            with tunnel(forward) as address:
                yield Jobs(address)

    def _check_same(self) -> None:
        """A file names one cluster at a time: what runs must not be lost sight of when the file is edited."""
        path = beside(self.path, ".yaml")
        if not path.exists():
            return
        known = identity(_written(path))
        if known != self._file.identity:
            raise ClusterError(
                f"{self.path}: was brought up as {_said(known)}, and would now be "
                f"{_said(self._file.identity)}. Take that one down first (ablate cluster down {path}); for a "
                "second cluster copy the file and give it another cluster_name"
            )

    @contextlib.contextmanager
    def _for_ray(self) -> Iterator[Path]:
        """The file for Ray's commands; it is kept only of a cluster that was brought up from here."""
        path = beside(self.path, ".yaml")
        if path.exists():  # with the paths of `up`, which may have been called in another folder
            yield keep(self.path, ".yaml", self._text(_written(path)["file_mounts"]))
            return
        with tempfile.TemporaryDirectory(prefix="ablate-") as folder:
            path = Path(folder) / "cluster.yaml"
            path.write_text(self._text(self._mounts()))
            yield path

    def _text(self, mounts: dict[str, str]) -> str:
        """The file with ``--set``, and with paths that hold wherever Ray is called."""
        values = self._file.values | {"file_mounts": mounts}
        head = f"# {self.path.resolve()}, as `ablate cluster` gives it to Ray\n"
        return f"{head}{json.dumps(values, indent=1)}\n"

    def _mounts(self) -> dict[str, str]:
        """Path on the nodes -> path here; relative ones start from the current folder, as Ray has it."""
        given = self._file.values.get("file_mounts") or {}
        return {remote: str(Path.cwd() / Path(local).expanduser()) for remote, local in given.items()}

    def _check_mounts(self, mounts: dict[str, str]) -> None:
        if PLACE not in mounts:
            raise ClusterError(
                f"{self.path}: file_mounts must hold {PLACE}: {PLACE}, by which the nodes know each other"
            )
        for remote, local in mounts.items():
            if remote != PLACE and not Path(local).exists():
                raise ClusterError(
                    f"{self.path}: file_mounts: {remote}: there is no {local}; relative paths start from the "
                    "current folder, so call this from the project's"
                )

    def _check_tools(self) -> None:
        provider = self._file.provider
        module, name = _NEEDED.get(provider, ("ray", "ray"))
        if importlib.util.find_spec(module) is None:
            raise ClusterError(f"{self.path}: provider.type {provider} needs {name}: pip install {name}")
        for program in ("ssh", "rsync"):
            if shutil.which(program) is None:
                raise ClusterError(f"`ray up` needs the program {program}, which is not on PATH; install it")

    def _check_hosts(self, jobs: Jobs, wanted: Resources) -> None:
        """What hosts of one's own have is known once they have joined; those that have not may be larger."""
        offers = jobs.offers()
        why = too_large(wanted, offers)
        if why and len(offers) > self._file.most_workers:
            raise ClusterError(f"{self._file.name}: {why}")
        if why:
            print(f"note: not all hosts have joined. As it is, {why}")


def stop_hosts(values: Mapping[str, Any]) -> str:
    """What the head of hosts of one's own is to run: it stops its Ray, so that no node is started again,
    then, by the way on which Ray goes too, that of the workers. One that does not obey is named."""
    auth = values.get("auth", {})
    user = f"{shlex.quote(auth['ssh_user'])}@" if "ssh_user" in auth else ""
    key = "-i ~/ray_bootstrap_key.pem " if "ssh_private_key" in auth else ""
    options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes"
    reach = f"ssh -tt {key}{options} -o ConnectTimeout=10 {user}$worker"
    stop = f"""{reach} "bash --login -i -c 'source ~/.bashrc && ray stop'" 2>&1 </dev/null"""
    each = f'{stop} || echo "$worker: not stopped; what of Ray still runs there ends by: ray stop"'
    return f"ray stop && for worker in $(python -c {shlex.quote(_WORKERS)}); do {each}; done"


def _ray(*words: str) -> int:
    """Run Ray's command line on the terminal that this process has; its exit status."""
    sys.stdout.flush()
    return subprocess.run([str(RAY), *words], check=False).returncode


def _written(path: Path) -> dict[str, Any]:
    """What ``_text`` gave."""
    values: dict[str, Any] = json.loads(path.read_text().partition("\n")[2])
    return values


def _said(who: dict[str, Any]) -> str:
    name, *rest = who.values()
    return f"{name} ({', '.join(map(str, rest))})"
