"""Whether nodes are about to be taken away: the word of a cloud, or of whoever runs the cluster.

``ABLATE_PREEMPTION``, set where a node's Ray is started and inherited by its workers, says whom to ask:

    aws          the instance's metadata service: an interruption notice (a recommendation to leave is none)
    gcp          the instance's metadata server: whether it is preempted
    file:PATH    this file, which a batch system's signal handler or a container's preStop hook writes: it
                 says the reason, and when it is gone the notice is withdrawn

Without it nobody is asked. Ray knows of nodes that it drains itself, but no public way leads from there to a
Tune trainable. Other addresses of the metadata services come from the variables that the clouds' own tools
read: AWS_EC2_METADATA_SERVICE_ENDPOINT and GCE_METADATA_HOST.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

log = logging.getLogger(__name__)

VARIABLE = "ABLATE_PREEMPTION"
EVERY = 2.0  # seconds between two looks; clouds give 30 s and more
PATIENCE = 2.0  # seconds for an answer from this very machine
_MOST = 10_000  # bytes of an answer, or of a reason, that are read
_TOKEN = "X-aws-ec2-metadata-token"
_TOKEN_SECONDS = "21600"
_DIRECT = build_opener(ProxyHandler({}))  # what a machine is told of itself is behind no proxy

Source = Callable[[], str]  # why this machine is to be taken away, "" if it is not; raises if that is unknown


def source_of(word: str) -> Source:
    """What ``ABLATE_PREEMPTION`` means. Raises ValueError for what it may not be."""
    kind, _, path = word.partition(":")
    if word == "aws":
        return AwsNotice()
    if word == "gcp":
        return GcpNotice()
    if kind == "file" and Path(path).is_absolute():
        return FileNotice(Path(path))
    raise ValueError(f"{VARIABLE} is {word!r}; it may be aws, gcp, or file: with an absolute path")


class AwsNotice:
    """Asks version 2 of the instance metadata service, whose tokens run out."""

    def __init__(self, address: str = "") -> None:
        given = address or os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
        self._address, self._token = f"{given.rstrip('/')}/latest", ""

    def __call__(self) -> str:
        status, text = self._ask()
        if status == 401:
            self._token = ""
            status, text = self._ask()
        if status == 404:
            return ""
        if status != 200:
            raise OSError(f"{self._address} answers {status}")
        notice = json.loads(text)
        return f"AWS will {notice['action']} it at {notice['time']}"

    def _ask(self) -> tuple[int, str]:
        if not self._token:
            lasting = {f"{_TOKEN}-ttl-seconds": _TOKEN_SECONDS}
            status, self._token, _ = _http(f"{self._address}/api/token", lasting, method="PUT")
            if status != 200:
                self._token = ""
                raise OSError(f"{self._address} gives no token: {status}")
        address = f"{self._address}/meta-data/spot/instance-action"
        status, text, _ = _http(address, {_TOKEN: self._token})
        return status, text


class GcpNotice:
    """Asks the metadata server, which says of itself that it is one."""

    def __init__(self, host: str = "") -> None:
        given = host or os.environ.get("GCE_METADATA_HOST") or "metadata.google.internal"
        self._address = f"http://{given}/computeMetadata/v1/instance/preempted"

    def __call__(self) -> str:
        status, text, headers = _http(self._address, {"Metadata-Flavor": "Google"})
        if status != 200 or headers.get("Metadata-Flavor") != "Google":
            raise OSError(f"{self._address} answers {status}, or is no metadata server")
        return "Google Cloud takes it back now" if text.strip() == "TRUE" else ""


class FileNotice:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> str:
        try:
            with self._path.open(errors="replace") as file:
                said = " ".join(file.read(_MOST).split())
        except FileNotFoundError:
            return ""
        return said[:200] or f"{self._path} appeared"


def _http(address: str, headers: Mapping[str, str], method: str = "GET") -> tuple[int, str, Message]:
    request = Request(address, headers=dict(headers), method=method)
    try:
        with _DIRECT.open(request, timeout=PATIENCE) as reply:
            return reply.status, reply.read(_MOST).decode(), reply.headers
    except HTTPError as error:
        return error.code, "", error.headers


class Notices:
    """The nodes that will be taken away, as far as this process knows: its own, ``node``, of which a thread
    asks ``source`` (None: nobody), and those it was told of. The first look is over when this is made."""

    def __init__(self, node: str, source: Source | None, *, every: float = EVERY) -> None:
        self._node, self._source, self._every = node, source, every
        self._heard: dict[str, str] = {}
        self._own = self.trouble = ""  # trouble: why the source cannot be asked
        if source is not None:
            self._look(source)
            threading.Thread(target=self._watch, args=(source,), name="preemption", daemon=True).start()

    @classmethod
    def of(cls, node: str) -> Notices:
        """As this process's environment has it. Raises ValueError if it has it wrong."""
        word = os.environ.get(VARIABLE, "")
        return cls(node, source_of(word) if word else None)

    def standing(self) -> dict[str, str]:
        """The nodes, and why they will be taken away."""
        own = {self._node: f"{socket.gethostname()}: {self._own}"} if self._own else {}
        return {**self._heard, **own}

    def hear(self, notices: Mapping[str, str]) -> None:
        """Take note of what another process knows."""
        self._heard = {**self._heard, **notices}

    def _watch(self, source: Source) -> None:
        while True:
            time.sleep(self._every)
            self._look(source)

    def _look(self, source: Source) -> None:
        try:
            self._own, trouble = source(), ""
        except (
            Exception
        ) as error:  # whatever answers there: a notice stands until it is known to be withdrawn
            trouble = f"{type(error).__name__}: {error}"
        if trouble and not self.trouble:
            log.warning("%s: whether this node will be taken away is unknown: %s", VARIABLE, trouble)
        self.trouble = trouble
