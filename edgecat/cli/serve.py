"""`edgecat serve`."""

from __future__ import annotations

import os
import re
from typing import Annotated

import typer

from edgecat.cli.describing import describing
from edgecat.cli.options import Engine, Model
from edgecat.cli.output import quiet_libraries
from edgecat.engines import cores
from edgecat.errors import EdgecatError
from edgecat.foreign.description import Description

KEY = "EDGECAT_API_KEY"


@describing
def serve(
    model: Model = None,
    host: Annotated[
        str,
        typer.Option(
            help="The address to listen on. "
            "Others than this machine's own loopback need EDGECAT_API_KEY."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8080,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes; the cores are shared out among them.")
    ] = 1,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Ask nobody for an API key.")] = False,
    engine: Engine = None,
    description: Description | None = None,
) -> None:
    """Answer Google Cloud Vision's protocol on this machine, and show a page to try it.

    An app that asks Cloud Vision for labels asks this server instead when its address is changed.
    If EDGECAT_API_KEY is set, clients must send that key as the header X-Goog-Api-Key or as ?key=.
    Requests are logged on stderr, one JSON object a line.

    [bold]edgecat serve[/bold]

    [bold]EDGECAT_API_KEY=… edgecat serve --host 0.0.0.0[/bold]
    """
    try:
        from edgecat.server.run import address_of, is_loopback, listen
        from edgecat.server.run import serve as run
        from edgecat.server.settings import Settings
    except ModuleNotFoundError as error:
        raise EdgecatError(
            f"serving needs '{error.name}'; install it with: pip install 'edgecat[serve]'"
        ) from None
    key = "" if no_auth else os.environ.get(KEY, "").strip()
    if not re.fullmatch("[!-~]*", key):
        raise EdgecatError(
            f"{KEY} holds more than letters, digits and signs; set it to the key alone"
        )
    if not key and not no_auth and not is_loopback(host):
        raise EdgecatError(
            f"--host {host} lets others in; "
            f"set {KEY} to a key that they must show, or say --no-auth"
        )
    settings = Settings(model, engine, description, key, threads=max(1, cores() // workers))
    with quiet_libraries():
        opened = settings.open()
    with opened, listen(host, port) as listening:
        print(
            f"{opened.name} ({opened.engine}) answers at {address_of(listening, host)}", flush=True
        )
        run(settings, opened, listening, workers)
