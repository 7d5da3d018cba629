"""The process, or processes, that answer: their socket, log and stop."""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import socket
import tempfile
import warnings
from functools import partial

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from edgecat.classifier import Classifier
from edgecat.errors import EdgecatError
from edgecat.server.app import Settings, make_app
from edgecat.server.http import options
from edgecat.server.log import LOGGING

STOP_SECONDS = 90  # for what was accepted to be answered, once told to stop


def is_loopback(host: str) -> bool:
    """Whether what listens there can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket that clients may connect to already. Raises EdgecatError."""
    try:
        family, *_, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(address[:2], family=family, backlog=1024)
        listening.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )  # else the second half of an answer waits for the client's word on the first
    except socket.gaierror:
        raise EdgecatError(
            f"--host {host}: no address of this machine; expected such as 127.0.0.1, or 0.0.0.0 for all"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise EdgecatError(
                f"port {port} of {host} is in use; stop what uses it, or give another --port"
            ) from None
        raise EdgecatError(
            f"cannot listen on port {port} of {host} ({os.strerror(error.errno or 0)}); give another --host or --port"
        ) from None
    return listening


def serve(settings: Settings, opened: Classifier, listening: socket.socket, workers: int) -> None:
    """Answer until told to stop, then answer what was accepted. With several `workers`, each process opens the model anew."""
    more = {
        **options(),
        "log_config": LOGGING,
        "lifespan": "on",
        "timeout_graceful_shutdown": STOP_SECONDS,
    }
    if workers == 1:
        # uvicorn raises the signal once more when all is answered.
        signal.signal(signal.SIGTERM, lambda *_: None)
        uvicorn.Server(uvicorn.Config(_quiet_app(settings, opened), **more)).run([listening])
        return
    opened.close()
    with tempfile.TemporaryDirectory(prefix="edgecat-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        Multiprocess(
            uvicorn.Config(partial(_quiet_app, settings), factory=True, workers=workers, **more),
            [listening],
        ).run()


def _quiet_app(settings: Settings, opened: Classifier | None = None) -> ASGIApp:
    warnings.filterwarnings(
        "ignore", module="PIL"
    )  # notes on broken EXIF data and the like, which would stand between the lines of the log
    return make_app(settings, opened)


def address_of(listening: socket.socket, host: str) -> str:
    """For a person."""
    shown = f"[{host.strip('[]')}]" if ":" in host else host
    return f"http://{shown}:{listening.getsockname()[1]}"
