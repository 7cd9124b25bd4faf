"""``ablate ui``: MLflow's own pages on loopback, showing the store that the sweeps were written to."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from ablate.tracking.links import links, page
from ablate.tracking.mirror import catch_up
from ablate.tracking.store import Store, TrackingError, find_store, store_of

HOST = "127.0.0.1"


def serve_ui(runs: Path, port: int = 5000) -> None:
    """Become MLflow's server (this process is replaced) for the sweeps in ``runs``; stop it with Ctrl-C.

    What a sweep's mirror could not deliver is brought in first, and the addresses of what there is to see are
    printed. Another port is taken, and named, if ``port`` is busy. Sweeps that are on a server with pages of
    its own are named with their addresses there; if all are, nothing is served. Raises TrackingError if there
    is nothing to show.
    """
    own = find_store(runs)
    placed = {path.parent: store_of(path.parent)[0] for path in sorted(runs.glob("*/sweep.json"))}
    servers = dict.fromkeys(store for store in (own, *placed.values()) if store.is_server)
    here = [folder for folder, store in placed.items() if store == own and not own.is_server]
    if not here and not servers and not _exists(own):
        raise TrackingError(f"{runs.absolute()}: no sweep has been run here; give the folder with --runs")
    for folder, store in placed.items():
        if (store.is_server or store == own) and not catch_up(folder):
            print(f"{folder.name}: not all of it is in MLflow yet ({store.shown})")
    for server in servers:
        there = [folder for folder, store in placed.items() if store == server]
        print("\n".join(directory(there, server.shown.rstrip("/"))), flush=True)
    if own.is_server or (servers and not here and not _exists(own)):
        return
    free = free_port(port)
    if free != port:
        print(f"Port {port} is busy; taking {free}.")
    print("\n".join(directory(here, f"http://{HOST}:{free}")))
    print("Ctrl-C stops it.", flush=True)
    command = ui_command(own, free)
    os.execve(command[0], command, os.environ | ui_environment(own))


def directory(folders: list[Path], site: str) -> list[str]:
    """The addresses to open, line by line: everything of the sweep that was written to last, and the way to
    all the others."""
    lines = [f"MLflow: {site}/{page('experiments')}"]
    begun = [folder for folder in folders if (folder / "ledger.jsonl").exists()]
    for newest in sorted(begun, key=lambda folder: (folder / "ledger.jsonl").stat().st_mtime)[-1:]:
        lines += [f"  {newest.name}, {what}: {site}/{where}" for what, where in links(newest).items()]
    return lines


def ui_command(store: Store, port: int) -> list[str]:
    """The command that serves ``store`` on loopback; uploads over HTTP go to its artifact folder too."""
    command = [sys.executable, "-m", "mlflow", "ui", "--host", HOST, "--port", str(port), "--workers", "1"]
    if store.artifacts is not None:
        command += ["--artifacts-destination", store.artifacts.as_uri()]
    return command


def ui_environment(store: Store) -> dict[str, str]:
    """What that command reads from its environment: everybody on the machine can read a command, and the URI
    may hold a password."""
    return {"MLFLOW_BACKEND_STORE_URI": store.uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def free_port(wanted: int) -> int:
    """``wanted`` if nobody listens there, or else a port that the system gives."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise TrackingError(f"no free port on {HOST}")


def _exists(store: Store) -> bool:
    return not store.uri.startswith("sqlite:///") or Path(store.uri.removeprefix("sqlite:///")).exists()
