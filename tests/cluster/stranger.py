"""What somebody in the same network can get without the token: `python -m tests.cluster.stranger HEAD`.

Its input is JSON: {"targets": [[address, port]], "token": the right one}. At each target it tries what
speaks HTTP and what speaks gRPC: list the jobs, submit one, have a task or an actor run, read and write Ray's
tables; then to be part of the cluster whose head is at HEAD. Each with no token and with a wrong one; and, to
see that it is the token that is missing, two of them with the right one. Prints JSON: {"ports": [[address,
port, outcomes]], "joined": {how: outcome}, "with_the_token": {what: outcome}}.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

PATIENCE = 3.0  # seconds
WRONG = "0" * 64
SILENT = "silent"  # it does not speak this protocol
METRICS = "metrics"  # what Prometheus is told, whatever it asks for
COMMAND = "touch /tmp/it-ran"  # what is submitted
_JOINING = 60.0  # seconds
_JOB = json.dumps({"entrypoint": COMMAND})
_HTTP = (
    ("list jobs", "GET", "/api/jobs/", ""),
    ("submit a job", "POST", "/api/jobs/", _JOB),
    ("submit a job to a node", "POST", "/api/job_agent/jobs/", _JOB),
    ("set up an environment", "POST", "/get_or_create_runtime_env", ""),
    ("read metrics", "GET", "/metrics", ""),
)
_GRPC = (
    "NodeInfoGcsService/GetClusterId",  # by which all that follows at the GCS would have to know the cluster
    "JobInfoGcsService/GetAllJobInfo",
    "InternalKVGcsService/InternalKVPut",
    "ActorInfoGcsService/RegisterActor",
    "NodeManagerService/RequestWorkerLease",
    "CoreWorkerService/PushTask",
    "ObjectManagerService/Pull",
    "ReporterService/GetTraceback",
    "RayletDriver/Schedule",
)
JOIN = """
import os, sys
import ray
try:
    ray.init(address=sys.argv[1], logging_level="ERROR")
    @ray.remote(num_cpus=0)
    def run():
        os.system(sys.argv[2])
    ray.get(run.remote(), timeout=20)
    print("accepted")
except BaseException as error:
    print("refused:", type(error).__name__, " ".join(str(error).split())[:200])
"""


def main(head: str) -> None:
    asked = json.load(sys.stdin)
    found = [[address, port, dict(attempts(address, port))] for address, port in asked["targets"]]
    friend = dict(_as_a_friend(head, asked["token"]))
    json.dump({"ports": found, "joined": dict(_joins(head)), "with_the_token": friend}, sys.stdout)


def attempts(address: str, port: int) -> Iterator[tuple[str, str]]:
    """(attempt, outcome) at a port: ``unreachable``, ``silent``, or what it answered."""
    try:
        socket.create_connection((address, port), PATIENCE).close()
    except OSError:
        yield "connect", "unreachable"
        return
    for what, method, path, body in _HTTP:
        for words, token in (("", ""), (" with a wrong token", WRONG)):
            outcome = _http(address, port, method, path, body, token)
            yield what + words, outcome
        if outcome == SILENT:
            break
    yield from _grpc(address, port)


def _http(address: str, port: int, method: str, path: str, body: str, token: str) -> str:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    asked = http.client.HTTPConnection(address, port, timeout=PATIENCE)
    try:
        asked.request(method, path, body or None, headers)
        answer = asked.getresponse()
        return METRICS if answer.read(6) == b"# HELP" else f"HTTP {answer.status}"
    except (OSError, http.client.HTTPException):
        return SILENT
    finally:
        asked.close()


def _grpc(address: str, port: int) -> Iterator[tuple[str, str]]:
    import grpc

    channel: Any = grpc.insecure_channel(f"{address}:{port}")
    try:
        grpc.channel_ready_future(channel).result(timeout=PATIENCE)
    except grpc.FutureTimeoutError:
        yield "gRPC", SILENT
        return
    with channel:
        for words, token in (("", ""), (" with a wrong token", WRONG)):
            for method in _GRPC:
                yield method + words, _call(channel, method, token)


def _call(channel: Any, method: str, token: str) -> str:
    import grpc

    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    try:
        channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=PATIENCE, metadata=metadata)
        return "OK"
    except grpc.RpcError as error:
        return str(error.code().name)


def _as_a_friend(head: str, token: str) -> Iterator[tuple[str, str]]:
    import grpc

    with grpc.insecure_channel(f"{head}:6379") as channel:
        yield _GRPC[0], _call(channel, _GRPC[0], token)
    right = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    yield "ray.init", _join(f"ray://{head}:10001", "true", right)


def _joins(head: str) -> Iterator[tuple[str, str]]:
    for address in (f"{head}:6379", f"ray://{head}:10001"):
        for how, more in (
            ("no token", {"RAY_AUTH_MODE": "disabled"}),
            ("a wrong token", {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": WRONG}),
        ):
            yield f"{address} with {how}", _join(address, COMMAND, more)


def _join(address: str, command: str, more: dict[str, str]) -> str:
    """Have ``command`` run on the cluster; "accepted", or why not."""
    free = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    words = [sys.executable, "-c", JOIN, address, command]
    try:
        done = subprocess.run(
            words, env=free | more, capture_output=True, text=True, timeout=_JOINING, check=False
        )
    except subprocess.TimeoutExpired:
        return f"refused: no answer within {_JOINING:g} s"
    return done.stdout.strip() or done.stderr.strip()[-200:]


if __name__ == "__main__":
    main(sys.argv[1])
