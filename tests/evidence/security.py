"""A stranger in the network of a running cluster: what can be reached without the token, and what it gives.

The cluster of ``tests.evidence.cluster`` runs a sweep whose trials span both workers. Meanwhile all sockets
of its hosts are listed, and a host that has no token tries at each of them what a host with it may do.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.cluster.hosts import HOME, Host, missing
from tests.cluster.sockets import Listener, exposed, table
from tests.cluster.stranger import METRICS, SILENT
from tests.evidence.cluster import HEAD, STRANGER, WORKERS, Site, site
from tests.evidence.harness import ROOT, Finding, check

SWEEP = "watched"
GANG = ("resources={slots: 1, workers: 2, cpus: 1}", "search.trials=3")
REFUSED = {"HTTP 401", "HTTP 403", "UNAUTHENTICATED"}
# Not the protocol, nothing of that name, or what it tells everybody.
NEITHER = {SILENT, "UNIMPLEMENTED", "HTTP 404", "HTTP 405", METRICS}
MARK = Path("/tmp/it-ran")  # what a submitted job or task would make
SEARCH = """
import sys
from ablate.ledger import Store
secret, store = sys.stdin.read().encode(), Store.at(sys.argv[1])
print(*(key for key in store.sizes() if secret in store.get(key)))
"""


@check("security")
def security(scratch: Path) -> Finding:
    if reason := missing():
        raise SystemExit(f"no hosts can be made here: {reason}")
    with site(scratch) as here:
        here.up()
        here.submit(SWEEP, *GANG)
        here.await_trials(SWEEP, 1)
        rows, bare = look_around(here)
        told = ask_as_a_stranger(here, [row for row in rows if not row[1].on_loopback])
        here.await_end(SWEEP)
        ran = [name for name in (HEAD, *WORKERS) if here.net[name].path(MARK).exists()]
        leaks = find_token(here)
        here.down()
    return finding(rows, bare, told, ran, leaks)


def look_around(here: Site) -> tuple[list[tuple[str, Listener]], list[str]]:
    """(host, listener) of the whole cluster; and those that are open to more than its network."""
    rows: list[tuple[str, Listener]] = []
    bare = []
    for name in (HEAD, *WORKERS):
        said = here.net[name].run(sys.executable, "-m", "tests.cluster.sockets", cwd=ROOT).stdout
        found = json.loads(said)
        on_host = [Listener(**each) for each in found["listeners"]]
        rows += [(name, each) for each in on_host]
        bare += [f"{name}: {each}" for each in exposed(on_host, found["own"])]
    return rows, bare


def ask_as_a_stranger(here: Site, rows: list[tuple[str, Listener]]) -> dict[str, Any]:
    tcp = {(here.net[host].address, each.port) for host, each in rows if each.protocol == "tcp"}
    words = (sys.executable, "-m", "tests.cluster.stranger", here.net[HEAD].address)
    asked = json.dumps({"targets": sorted(tcp), "token": token_of(here)})
    done = here.net[STRANGER].run(*words, cwd=ROOT, input=asked, timeout=600)
    found = json.loads(done.stdout)
    names = {here.net[host].address: host for host in (HEAD, *WORKERS)}
    at = {(names[address], port): outcomes for address, port, outcomes in found["ports"]}
    return {"at": at, "joined": found["joined"], "with_the_token": found["with_the_token"]}


def token_of(here: Site) -> str:
    return here.net.operator.path(HOME / ".ray" / "auth_token").read_text().strip()


def find_token(here: Site) -> list[str]:
    """Where the token is, but for the file that is its place: on disks, in commands, in what was printed, in
    the bucket."""
    token = token_of(here)
    found = [f"printed: {path.name}" for path in here.scratch.glob("*.txt") if token in path.read_text()]
    for host in (here.net.operator, *(here.net[name] for name in (HEAD, *WORKERS))):
        found += [f"{host.name}: {path}" for path in holding(host, token.encode())]
        found += [f"{host.name}: a command" for process in host.processes() if token in process.command]
    said = here.net.operator.run(
        sys.executable, "-c", SEARCH, f"s3://sweeps/{SWEEP}", cwd=ROOT, env=here.bucket, input=token
    )
    return found + [f"bucket: {key}" for key in said.stdout.split()]


def holding(host: Host, secret: bytes) -> list[str]:
    found = []
    for path in host.disk.rglob("*"):
        place = Path("/") / path.relative_to(host.disk)
        if path.is_symlink() or not path.is_file() or place == HOME / ".ray" / "auth_token":
            continue
        with suppress(FileNotFoundError):  # Ray turns its logs over meanwhile
            if secret in path.read_bytes():
                found.append(str(place).replace(str(HOME), "~"))
    return found


def remark(outcomes: dict[str, str] | None) -> str:
    """What a stranger gets at a port; None: it was not asked, for it is on loopback."""
    if outcomes is None:
        return "loopback"
    if outcomes == {"connect": "unreachable"}:
        return "cannot be reached"
    if accepted := taken(outcomes):
        return f"**accepted: {', '.join(accepted)}**"
    if METRICS in outcomes.values():
        return "tells metrics to all, nothing else"
    if set(outcomes.values()) & REFUSED:
        return "refused without the token"
    return "speaks neither HTTP nor gRPC; no token"


def taken(outcomes: dict[str, str]) -> list[str]:
    """The attempts that were neither refused nor not understood."""
    return [what for what, how in outcomes.items() if how not in REFUSED | NEITHER | {"unreachable"}]


def finding(
    rows: list[tuple[str, Listener]], bare: list[str], told: dict[str, Any], ran: list[str], leaks: list[str]
) -> Finding:
    remarks = [
        (host, each, remark(None if each.on_loopback else told["at"].get((host, each.port))))
        for host, each in rows
    ]
    accepted = {f"{h}:{p}": found for (h, p), each in told["at"].items() if (found := taken(each))}
    joined = {how: said for how, said in told["joined"].items() if not said.startswith("refused")}
    refusals = sum(how in REFUSED for each in told["at"].values() for how in each.values())
    figures = {
        "listening_sockets": len(rows),
        "on_every_interface": sum(each.everywhere for _, each in rows),
        "open_to_more_than_the_network": bare,
        "attempts": sum(map(len, told["at"].values())),
        "refused_for_want_of_the_token": refusals,
        "accepted": accepted,
        "joined": told["joined"],
        "with_the_token": told["with_the_token"],
        "code_of_the_stranger_ran_on": ran,
        "token_found_in": leaks,
    }
    attempts = "\n".join(
        [f"- `ray.init` at {how}: {said}" for how, said in told["joined"].items()]
        + [f"- With the token, `{what}`: {said}" for what, said in told["with_the_token"].items()]
    )
    text = table(remarks)
    print(text, flush=True)
    return Finding(
        "While a sweep runs on a cluster of three hosts, its sockets are at loopback or private addresses; "
        "a host of the same network without the token can at none of them list jobs, submit one, run a task "
        "or read Ray's tables; and the token is in no log, command, artifact or record.",
        not (bare or accepted or joined or ran or leaks)
        and refusals > 0
        and set(told["with_the_token"].values()) == {"OK", "accepted"},
        figures,
        f"{text}\n\n{attempts}\n\n{NOTES}",
    )


NOTES = """\
A socket on all interfaces can be reached at the private address of its host, which has no other: that is
what was judged. On machines that have a public interface a firewall must do it (docs/security.md). Ranks of a
trial that spans hosts talk through torch's own sockets, which know no token: "speaks neither HTTP nor gRPC".
"""
