"""`ablate watch`: the report of a sweep in the browser, while it runs."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ablate.cli.errors import refuse, sweep_folder
from ablate.cli.operate import Name, Runs

app = typer.Typer()

_MEEK = 10  # so much less is it worth to the scheduler than the training beside it


@app.command()
def watch(
    name: Name,
    runs: Runs = Path("runs"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on loopback.")] = 8421,
) -> None:
    """Show the report of a sweep on loopback, made anew while it runs. Changes nothing; Ctrl-C ends it."""
    folder = sweep_folder(name, runs)
    from ablate.report.content import report_of
    from ablate.report.document.html import page
    from ablate.report.live.page import LivePage
    from ablate.report.live.server import HOST, open_server

    os.nice(_MEEK)
    live = LivePage(folder, report_of, partial(page, live=True))
    try:
        server = open_server(port, live.now)
    except OSError as error:
        refuse(f"{HOST}: cannot be listened on: {error.strerror}", 1)
    with server:
        if server.server_port != port:
            typer.echo(f"Port {port} cannot be had; taking {server.server_port}.")
        typer.echo(f"{name}: {server.address}  (Ctrl-C ends it)")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            typer.echo("")
