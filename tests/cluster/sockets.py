"""Who listens on a machine, and from where it can be reached: `python -m tests.cluster.sockets` prints it.

A socket that is bound to every interface can be reached at all addresses of its machine, and is judged by
them: it is as private as the most public of these. Sockets of a file system (Unix) are left out.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

import psutil


@dataclass(frozen=True)
class Listener:
    """A process that waits for others to call, or to send, at ``address`` (as it is bound) and ``port``."""

    pid: int
    process: str
    protocol: str
    address: str
    port: int

    @property
    def everywhere(self) -> bool:
        """Bound to every interface."""
        return ip_address(self.address).is_unspecified

    @property
    def on_loopback(self) -> bool:
        return _plain(self.address).is_loopback

    def reached_at(self, own: Iterable[str]) -> list[str]:
        """Its addresses on a machine whose own addresses are these."""
        return sorted(own) if self.everywhere else [self.address]


def listeners(pids: Iterable[int]) -> list[Listener]:
    """Those of the processes that are still there, by port."""
    found: set[Listener] = set()
    for pid in pids:
        try:
            process = psutil.Process(pid)
            name = _name(process)
            for each in process.net_connections(kind="inet"):
                waits = each.status == psutil.CONN_LISTEN or (
                    each.type == socket.SOCK_DGRAM and not each.raddr
                )
                if waits and each.laddr:
                    protocol = "udp" if each.type == socket.SOCK_DGRAM else "tcp"
                    found.add(Listener(pid, name, protocol, each.laddr.ip, each.laddr.port))
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return sorted(found, key=lambda each: (each.port, each.pid, each.address))


def family(pid: int) -> list[int]:
    """A process and all that it started, directly or not."""
    root = psutil.Process(pid)
    return [pid, *(child.pid for child in root.children(recursive=True))]


def own_addresses() -> list[str]:
    """All addresses of this machine."""
    families = (socket.AF_INET, socket.AF_INET6)
    found = (each for all_ in psutil.net_if_addrs().values() for each in all_ if each.family in families)
    return sorted({each.address.partition("%")[0] for each in found})


def private(address: str) -> bool:
    """Whether an address means something only on its machine or in its network."""
    plain = _plain(address)
    return (plain.is_private or plain.is_link_local) and not plain.is_unspecified


def exposed(found: Iterable[Listener], own: Collection[str]) -> list[Listener]:
    """Those that can be reached at an address that is neither loopback nor private."""
    return [each for each in found if not all(private(place) for place in each.reached_at(own))]


def table(rows: Sequence[tuple[str, Listener, str]]) -> str:
    """(host, listener, remark) as Markdown."""
    lines = ["| host | process | bound to | port | remark |", "|---|---|---|---|---|"]
    for host, each, remark in rows:
        bound = "all interfaces" if each.everywhere else each.address
        lines.append(f"| {host} | {each.process} | {bound} | {each.port} ({each.protocol}) | {remark} |")
    return "\n".join(lines)


def _plain(address: str) -> IPv4Address | IPv6Address:
    found = ip_address(address.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def _name(process: psutil.Process) -> str:
    """What it is, without the paths of this machine: of Python its module or script, of Ray its title."""
    words = process.cmdline()
    if not words:
        return str(process.name())
    first = words[0].rpartition("/")[2]
    if first.startswith("ray::") or not first.startswith("python"):
        return first.split()[0].rstrip(":")
    for word in words[1:]:
        if word.endswith(".py"):
            return word.rpartition("/")[2]
    return f"{first} {words[words.index('-m') + 1]}" if "-m" in words[:-1] else first


if __name__ == "__main__":
    everybody = listeners(psutil.pids())
    json.dump({"own": own_addresses(), "listeners": [asdict(each) for each in everybody]}, sys.stdout)
