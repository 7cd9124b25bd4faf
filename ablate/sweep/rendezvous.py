"""Where the ranks of a gang meet: at the address that their node has in the cluster, and nowhere else.

Ray Train would have torch listen on every interface of the machine, where anybody may write into its store,
and Gloo and NCCL on whichever the host's name leads to, which is 127.0.1.1 on many machines: ranks on other
machines then wait in vain. Ray knows one address of each node, so all of them listen there.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psutil  # type: ignore[import-untyped]
import ray
import torch.distributed as dist
from ray.train.torch import TorchConfig
from torch.distributed import TCPStore  # type: ignore[attr-defined]

_INTERFACE = {"GLOO_SOCKET_IFNAME": "{}", "NCCL_SOCKET_IFNAME": "={}"}  # with "=" NCCL takes no other eth0*
_meeting: list[socket.socket] = []  # in rank 0's process, from ``_listen`` until ``_join``


@dataclass
class OwnAddress(TorchConfig):  # type: ignore[misc]
    """Ray Train's settings for torch, with a process group that meets as above."""

    @property
    def backend_cls(self) -> type[Any]:
        return _OwnAddressBackend


class _OwnAddressBackend(TorchConfig().backend_cls):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: OwnAddress) -> None:
        size, patience = len(worker_group), timedelta(seconds=backend_config.timeout_s)
        backend = "nccl" if worker_group.get_resources_per_worker().get("GPU", 0) > 0 else "gloo"
        place = worker_group.execute_single(0, _listen)
        asked = [
            worker_group.execute_single_async(rank, _join, backend, rank, size, place, patience)
            for rank in range(size)
        ]
        ray.get(asked)


def _listen() -> tuple[str, int]:
    address = ray.util.get_node_ip_address()
    server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    server.bind((address, 0))
    server.listen()
    _meeting.append(server)
    return address, server.getsockname()[1]


def _join(backend: str, rank: int, size: int, place: tuple[str, int], patience: timedelta) -> None:
    interface = _interface(ray.util.get_node_ip_address())
    if interface is not None:  # what the user has set stays
        os.environ |= {k: os.environ.get(k, v.format(interface)) for k, v in _INTERFACE.items()}
    listening = _meeting.pop().detach() if rank == 0 else None
    store = TCPStore(*place, size, is_master=rank == 0, timeout=patience, master_listen_fd=listening)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)


def _interface(address: str) -> str | None:
    """The network interface that has this address; None where the machine does not know it by it."""
    for name, found in psutil.net_if_addrs().items():
        if any(each.address == address for each in found):
            return str(name)
    return None
