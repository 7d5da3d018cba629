"""Run the server: its socket, its processes, its end."""

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
from edgecat.server.app import make_app
from edgecat.server.connections import limited, options
from edgecat.server.log import LOGGING
from edgecat.server.settings import Settings

STOP_SECONDS = 90  # after the signal to stop, to answer the accepted requests


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that accepts connections. Raise EdgecatError."""
    try:
        family, *_, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(address[:2], family=family, backlog=1024)
        # Otherwise the body of an answer waits until the client acknowledges its head.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (socket.gaierror, UnicodeError):  # the second: a name that is no host's
        raise EdgecatError(
            f"--host {host}: no address of this machine; "
            "expected such as 127.0.0.1, or 0.0.0.0 for all"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise EdgecatError(
                f"port {port} of {host} is in use; stop what uses it, or give another --port"
            ) from None
        reason = os.strerror(error.errno or 0)
        raise EdgecatError(
            f"cannot listen on port {port} of {host} ({reason}); give another --host or --port"
        ) from None
    return listening


def serve(settings: Settings, opened: Classifier, listening: socket.socket, workers: int) -> None:
    """Answer requests until a signal to stop; then answer those that were accepted.

    With several `workers`, `opened` is closed and each process opens its own.
    """
    more = {
        **options(),
        "log_config": LOGGING,
        "lifespan": "on",
        "timeout_graceful_shutdown": STOP_SECONDS,
    }
    if workers == 1:
        # uvicorn raises SIGTERM again after the last answer. The exit status shall be 0, not the
        # command line's 143.
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
    # Pillow's notes on broken EXIF data and the like would stand among the lines of the log.
    warnings.filterwarnings("ignore", module="PIL")
    return limited(make_app(settings, opened))


def address_of(listening: socket.socket, host: str) -> str:
    """Return the address that clients use."""
    shown = f"[{host.strip('[]')}]" if ":" in host else host
    return f"http://{shown}:{listening.getsockname()[1]}"
