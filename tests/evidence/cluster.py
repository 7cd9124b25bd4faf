"""A cluster of three hosts: brought up and taken down through SSH, and struck while sweeps run on it.

The hosts are namespaces of this machine (``tests.cluster.hosts``): a head, two workers, a machine that serves
S3 (moto), a stranger without the token, and the operator's laptop, on which all commands of ours run. Nothing
is shared between them but the code that is installed; what a sweep keeps goes to the bucket.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ablate.ledger import Event, Ledger
from ablate.search import replay
from ablate.spec.trial import TrialSpec
from ablate.trial import run_trial
from tests.cluster.hosts import HOME, Hosts, hosts, missing
from tests.evidence.checks import NOT_REPEATABLE
from tests.evidence.faults import run_twice
from tests.evidence.harness import ROOT, Finding, check

FILE = "clusters/onprem.yaml"
SWEEP = "search_spaces/sparsehead.yaml"
HEAD, WORKERS, STORE, STRANGER = "head", ("worker-1", "worker-2"), "store", "stranger"
RUNS = HOME / "ablate-runs"
BUCKET = "s3://sweeps"
PORT = 5000
# The default sweep: its arms, space and confirmation, with fewer trials of fewer epochs.
SHORT = ("search.trials=2", "base.optim.epochs=4", "base.measure={every: 2}",
         "search.scheduler={kind: asha, rungs: [2], reduction: 2}", "confirm.seeds=2")  # fmt: skip
ALL = 16  # trials that it then has: 3 arms x 2, and 5 (arms and controls) x 2 seeds
WHOLE_HOST = 1  # CPU that Ray is told a worker has, so that a trial of two workers needs both
# Ray gives a node up after about a minute of silence; here after a few seconds, or the check would take long.
WATCHFUL = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
ASK_FOR_NODES = (
    "printf 'Authorization: Bearer %s' $(cat ~/.ray/auth_token) | "
    "curl -s -H @- http://127.0.0.1:8265/api/v0/nodes"
)
PATIENCE = 420.0  # seconds that anything may take
SHORT_CUT, LONG_CUT = 3.0, 45.0  # seconds of a partition: before Ray gives a node up, and well after


@dataclass
class Row:
    """What a fault did to one sweep."""

    fault: str
    before: int = 0  # trials finished when it struck
    lost: int = 0
    twice: int = 0
    finished: int = 0
    complete: int = 0
    equal: int = 0  # of them, to a fresh run of their spec
    sent_back: int = 0  # times that a trial went back to its last checkpoint
    epochs: int = 0  # the most epochs that one then trained again
    both: bool = False  # whether both workers ran trials
    seconds: int = 0
    note: str = ""
    error: str = ""

    @property
    def held(self) -> bool:
        whole = self.finished == ALL and self.complete > 0 and self.equal == self.complete
        return whole and not (self.lost or self.twice or self.error) and self.epochs <= 1 and self.both


@dataclass
class Site:
    """The cluster as its operator has it: from a laptop, by the commands of ablate."""

    net: Hosts
    scratch: Path
    sets: tuple[str, ...]
    bucket: dict[str, str]
    jobs: list[subprocess.Popen[str]] = field(default_factory=list)

    def ablate(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command of `ablate cluster` on the laptop, in the project's folder."""
        return self.net.operator.run(
            "ablate", "cluster", *words, cwd=ROOT, env=self.bucket, timeout=PATIENCE, check=check
        )

    def up(self) -> None:
        self.ablate("up", FILE, "--yes", *_set(self.sets))
        self.await_nodes(3)

    def await_nodes(self, count: int) -> None:
        _await(lambda: len(self.nodes()) == count, f"{count} nodes", self.status)

    def nodes(self) -> list[str]:
        """Addresses of the nodes that Ray counts as alive."""
        asked = self.net[HEAD].run("bash", "-c", ASK_FOR_NODES, check=False)
        found = json.loads(asked.stdout)["data"]["result"]["result"] if asked.stdout.startswith("{") else []
        return [node["node_ip"] for node in found if node["state"] == "ALIVE"]

    def status(self) -> str:
        return self.ablate("status", FILE, check=False).stdout[-2000:]

    def submit(self, name: str, *sets: str, short: tuple[str, ...] = SHORT) -> None:
        """Send the sweep under a name of its own, and leave: the laptop need not stay."""
        words = ("submit", FILE, SWEEP, "--storage", BUCKET, *_set((f"name={name}", *short, *sets)))
        log = self.scratch / f"{name}-{len(self.jobs)}.txt"
        command = ("ablate", "cluster", *words)
        following = self.net.operator.start(*command, log=log, cwd=ROOT, env=self.bucket)
        self.jobs.append(following)
        _await(lambda: self.drivers(name) > 0 or following.poll() is not None, "the job", log.read_text)
        if following.poll() not in (None, 0):
            raise RuntimeError(f"{shlex.join(command)}: {log.read_text()[-2000:]}")
        following.kill()
        following.wait()

    def drivers(self, name: str) -> int:
        return len([p for p in self.net[HEAD].processes("ablate sweep") if f"name={name}" in p.command])

    def ledger(self, name: str) -> list[Event]:
        path = self.net[HEAD].path(RUNS / name / "ledger.jsonl")
        return Ledger.read(path) if path.exists() else []

    def await_trials(self, name: str, count: int) -> list[Event]:
        """Its finished trials, as soon as there are so many."""
        self._await(name, lambda: len(_finished(self.ledger(name))) >= count, f"{count} trials of {name}")
        return _finished(self.ledger(name))

    def await_asked(self, name: str, count: int) -> None:
        def reached() -> bool:
            return sum(event["event"] == "asked" for event in self.ledger(name)) >= count

        self._await(name, reached, f"the {count}th trial of {name}")

    def await_end(self, name: str) -> None:
        report = self.net[HEAD].path(RUNS / name / "report" / "index.html")
        self._await(name, lambda: report.exists() and not self.drivers(name), f"the end of {name}")

    def _await(self, name: str, reached: Callable[[], bool], what: str) -> None:
        """As long as the sweep has a driver."""

        def looked() -> bool:
            driven = self.drivers(name) > 0
            if reached():
                return True
            if not driven:
                raise RuntimeError(f"no driver, and not {what}: {self.logs(name)}")
            return False

        _await(looked, what, lambda: self.logs(name))

    def logs(self, name: str) -> str:
        said = self.ablate("logs", FILE, name, check=False)
        return (said.stdout + said.stderr)[-2000:]

    def ran_on(self, name: str) -> dict[str, list[str]]:
        """Trials by the worker that has a log of theirs on its disk."""
        return {
            worker: sorted(
                path.parent.name for path in self.net[worker].path(RUNS / name / "trials").glob("*/log*.txt")
            )
            for worker in WORKERS
        }

    def down(self) -> None:
        self.ablate("down", FILE, "--yes")


def _set(sets: tuple[str, ...]) -> list[str]:
    return [word for value in sets for word in ("--set", value)]


def _finished(events: list[Event]) -> list[Event]:
    return [e for e in events if e["event"] == "finished"]


def _await(reached: Callable[[], bool], what: str, told: Callable[[], str]) -> None:
    until = time.monotonic() + PATIENCE
    while not reached():
        if time.monotonic() > until:
            raise RuntimeError(f"after {PATIENCE:.0f} s there is not: {what}. {told()}")
        time.sleep(0.5)


@contextmanager
def site(scratch: Path) -> Iterator[Site]:
    """Machines as their owner has prepared them: Python and the packages are there, Ray is not running."""
    with hosts(HEAD, *WORKERS, STORE, STRANGER) as net:
        bucket = serve_s3(net, scratch)
        for name, cpus in ((HEAD, 0), *((worker, WHOLE_HOST) for worker in WORKERS)):
            prepare(net, name, cpus, bucket)
        addresses = ", ".join(net[worker].address for worker in WORKERS)
        sets = (
            f"provider.head_ip={net[HEAD].address}",
            f"provider.worker_ips=[{addresses}]",
            "auth.ssh_user=root",
            # What set-up leaves there: the environment that this check runs in, and ray on the PATH.
            "setup_commands=[]",
        )
        yield Site(net, scratch, sets, bucket)


def prepare(net: Hosts, name: str, cpus: int, bucket: dict[str, str]) -> None:
    home = net[name].path(HOME)
    (home / "ablate").mkdir()
    (home / "ablate" / ".venv").symlink_to(sys.prefix)
    told = {**WATCHFUL, **bucket, "RAY_OVERRIDE_RESOURCES": json.dumps(
        {"CPU": cpus, "object_store_memory": 100 * 2**20}
    )}  # fmt: skip
    lines = ["PATH=$HOME/ablate/.venv/bin:$PATH", *(f"export {k}={shlex.quote(v)}" for k, v in told.items())]
    (home / ".bashrc").write_text("\n".join(lines) + "\n")


def serve_s3(net: Hosts, scratch: Path) -> dict[str, str]:
    """A bucket on a machine of its own; returns the environment that leads to it."""
    store = net[STORE]
    address = f"http://{store.address}:{PORT}"
    words = (sys.executable, "-m", "moto.server", "--host", store.address, "--port", str(PORT))
    server = store.start(*words, log=scratch / "store.txt")
    make = ("curl", "-sf", "-X", "PUT", f"{address}/{BUCKET.removeprefix('s3://')}")

    def made() -> bool:
        if server.poll() is not None:
            raise RuntimeError((scratch / "store.txt").read_text())
        return net.operator.run(*make, check=False).returncode == 0

    _await(made, "the bucket", (scratch / "store.txt").read_text)
    return {
        "AWS_ENDPOINT": address,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }


# --- faults --------------------------------------------------------------------------------------------


def nothing(here: Site) -> str:  # noqa: ARG001
    return "the laptop went as soon as the sweep was sent"


def worker_killed(here: Site) -> str:
    here.net["worker-1"].kill()
    here.await_nodes(2)
    here.net["worker-1"].boot()
    here.await_nodes(3)
    return "Ray was started on it again by the head once it was back"


def cut_off(seconds: float) -> Callable[[Site], str]:
    def fault(here: Site) -> str:
        here.net["worker-2"].partition()
        time.sleep(seconds)
        here.net["worker-2"].heal()
        here.await_nodes(3)
        return ""

    return fault


def head_restarted(here: Site, name: str) -> str:
    here.net[HEAD].kill()
    here.net[HEAD].boot()
    here.up()
    here.submit(name)
    return "brought up and submitted again, as it was the first time"


FAULTS: tuple[tuple[str, str, Callable[[Site, str], str]], ...] = (
    ("nothing happens", "quiet", lambda here, _: nothing(here)),
    ("a worker's plug is pulled", "plug", lambda here, _: worker_killed(here)),
    (f"a worker is cut off for {SHORT_CUT:g} s", "short", lambda here, _: cut_off(SHORT_CUT)(here)),
    (f"a worker is cut off for {LONG_CUT:g} s", "long", lambda here, _: cut_off(LONG_CUT)(here)),
    ("the head's plug is pulled", "head", head_restarted),
)


def struck(here: Site, fault: str, name: str, strike: Callable[[Site, str], str]) -> Row:
    """One sweep that the fault befalls when three of its trials are finished."""
    row, began = Row(fault), time.monotonic()
    try:
        here.submit(name)
        before = here.await_trials(name, 3)
        row.note = strike(here, name)
        here.await_end(name)
        judge(row, here.ledger(name), before)
        row.both = all(here.ran_on(name).values())
    except Exception as error:
        row.error = f"{type(error).__name__}: {' '.join(str(error).split())[:1000]}"
    row.seconds = round(time.monotonic() - began)
    print(row, flush=True)
    return row


def judge(row: Row, events: list[Event], before: list[Event]) -> None:
    after = _finished(events)
    row.before, row.lost = len(before), sum(e not in after for e in before)
    row.twice, row.finished = run_twice(events), len(after)
    replay(events)
    if events[-1]["event"] != "ended":
        row.error = f"its last record is {events[-1]['event']}"
    specs = {e["trial"]: e["spec"] for e in events if e["event"] == "asked"}
    complete = [e for e in after if e["state"] == "COMPLETE"]
    row.complete = len(complete)
    row.equal = sum(is_same(alone(json.dumps(specs[e["trial"]])), e["metrics"]) for e in complete)
    again = trained_again(events)
    row.sent_back, row.epochs = len(again), max(again, default=0)


@cache
def alone(spec: str) -> dict[str, float]:
    """What a fresh run of a spec gives; most are the same in all sweeps here."""
    return run_trial(TrialSpec.model_validate_json(spec)).metrics


def is_same(alone: dict[str, float], metrics: dict[str, float]) -> bool:
    return all(alone[name] == value for name, value in metrics.items() if name not in NOT_REPEATABLE)


def trained_again(events: list[Event]) -> list[int]:
    """For each time that a trial went back to a checkpoint: the reported epochs that were lost with it."""
    reached: dict[str, int] = {}
    found = []
    for event in events:
        match event["event"]:
            case "reported":
                reached[event["trial"]] = event["epoch"]
            case "abandoned":
                found.append(reached.pop(event["trial"], event["epoch"]) - event["epoch"])
            case "resumed":
                found += [reached.pop(t, epoch) - epoch for t, epoch in event["epochs"].items()]
    return found


# --- what else is to be seen ---------------------------------------------------------------------------


def spanning(here: Site) -> dict[str, Any]:
    """A trial of two workers, of which no host has room for both."""
    here.submit("gang", "resources={slots: 1, workers: 2, cpus: 1}", "search.trials=1", "confirm=null")
    here.await_end("gang")
    states = {e["trial"]: e["state"] for e in _finished(here.ledger("gang"))}
    ran = here.ran_on("gang")
    spanned = sorted(set(ran[WORKERS[0]]) & set(ran[WORKERS[1]]))
    return {"trials": len(states), "failed": list(states.values()).count("FAILED"), "spanning": len(spanned)}


def refused(here: Site) -> dict[str, str]:
    """What a machine of the same network is told without the token."""
    head = here.net[HEAD]
    stranger = here.net[STRANGER].run(
        Path(sys.prefix) / "bin" / "ray", "status", "--address", f"{head.address}:6379",
        env={"RAY_AUTH_MODE": "disabled"}, check=False,
    )  # fmt: skip
    said = (stranger.stdout + stranger.stderr).strip().splitlines()
    jobs = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}")
    reached = here.net[STRANGER].run(*jobs, f"http://{head.address}:8265/api/jobs/", check=False)
    local = head.run(*jobs, "http://127.0.0.1:8265/api/jobs/", check=False)
    return {
        "gcs": f"exit status {stranger.returncode}: {said[-1] if said else ''}"[:300],
        "jobs_from_the_network": f"curl's exit status {reached.returncode} (7: connection refused)",
        "jobs_on_the_head": f"HTTP {local.stdout}",
    }


def left(here: Site) -> dict[str, list[str]]:
    """What of Ray still runs on each machine of the cluster."""
    return {
        name: [p.command[:100] for p in here.net[name].processes() if "ray" in p.command]
        for name in (HEAD, *WORKERS)
    }


def taken_down(here: Site) -> dict[str, list[str]]:
    """What is left of Ray some time after the cluster was taken down."""
    here.down()
    _await(lambda: not any(left(here).values()), "nothing left", lambda: json.dumps(left(here), indent=1))
    return left(here)


HEADINGS = (
    "fault", "finished before it", "of them lost", "run twice", "finished at the end", "sent back",
    "most epochs trained again", "COMPLETE equal to a fresh run", "both workers", "s", "held",
)  # fmt: skip


def table(rows: list[Row]) -> str:
    lines = [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    for r in rows:
        cells = (
            r.fault, r.before, r.lost, r.twice, f"{r.finished} of {ALL}", r.sent_back, r.epochs,
            f"{r.equal} of {r.complete}", "yes" if r.both else "no", r.seconds, "yes" if r.held else "**no**",
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    notes = [f"- {r.fault}: {r.error or r.note}" for r in rows if r.error or r.note]
    return "\n".join([*lines, "", *notes])


@check("cluster")
def cluster(scratch: Path) -> Finding:
    if reason := missing():
        raise SystemExit(f"no hosts can be made here: {reason}")
    with site(scratch) as here:
        began = time.monotonic()
        here.up()
        figures: dict[str, Any] = {"up_seconds": round(time.monotonic() - began), "nodes": here.nodes()}
        figures["refused"] = refused(here)
        figures["gang"] = spanning(here)
        rows = [struck(here, *fault) for fault in FAULTS]
        figures["left"] = taken_down(here)
    gang = figures["gang"]
    figures |= {row.fault: {k: v for k, v in vars(row).items() if k != "fault"} for row in rows}
    text = table(rows)
    print(text, flush=True)
    return Finding(
        f"Three hosts with networks, processes and disks of their own become a cluster by {FILE} and SSH, "
        "run the default sweep, sent from a fourth, and keep no trace of it. A trial of two workers "
        "spans two of them. Without the token nothing is told. Whichever host is lost, cut off or restarted "
        "meanwhile, the sweep comes to its end with nothing lost or run twice, and no trial loses more than "
        "a checkpoint interval.",
        all(row.held for row in rows)
        and len(figures["nodes"]) == 3
        and gang["spanning"] == gang["trials"] > 0 == gang["failed"]
        and not any(figures["left"].values())
        and is_refused(figures["refused"]),
        figures,
        f"{text}\n\n{SETTING}",
    )


def is_refused(told: dict[str, str]) -> bool:
    return (
        not told["gcs"].startswith("exit status 0")
        and "status 7 " in told["jobs_from_the_network"]
        and told["jobs_on_the_head"] == "HTTP 401"
    )


SETTING = f"""\
Set for this check: the sweep with `{" ".join(SHORT)}`. For Ray each worker has {WHOLE_HOST} CPU and the head
none. `setup_commands=[]`, since all hosts see this machine's installation. Ray looks at its nodes each
second and gives one up after three failures (its defaults: 3 s, and five failures of 10 s). All hosts share
two cores and one clock. A partition drops all packets of the host; a pulled plug is SIGKILL to all of its
processes at once, unheard by its peers."""
