"""Limits on connections: how many, how long they may stay silent, how long a head may be.

uvicorn has no limit on the time or the bytes before a request is complete. `LimitedProtocol` adds
them around asyncio's own callbacks; `limited` tells it when the app begins and ends a request.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any, ClassVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_CONNECTIONS = 900  # of a process
OTHER_FILES = 40  # that a process has open beside its connections, and some to spare
MAX_HEAD = 64 * 1024  # bytes of a request line and its headers
MAX_READ = 256 * 1024  # bytes that asyncio hands over at once
HEAD_SECONDS = 10.0  # from a new connection to its first request
IDLE_SECONDS = 60.0  # from an answer to the next request
REQUEST_SECONDS = 300.0  # of a request; the app's own limits are shorter and answer politely

Address = tuple[Any, ...]  # host and port
Key = tuple[Address, Address]  # of the server and of the client


class LimitedProtocol(HttpToolsProtocol):
    """One connection; it is cut if its client exceeds a limit.

    If there are too many connections, the one that has been idle longest is cut.
    """

    head_seconds = HEAD_SECONDS
    max_connections = MAX_CONNECTIONS
    _open: ClassVar[dict[Key, LimitedProtocol]] = {}

    @classmethod
    def of(cls, scope: Scope) -> LimitedProtocol | None:
        """Return the connection of a request; None if it is closed."""
        if not scope.get("server") or not scope.get("client"):
            return None
        return cls._open.get((tuple(scope["server"]), tuple(scope["client"])))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._connection = transport
        self._clock = asyncio.get_running_loop()
        self._deadline: asyncio.TimerHandle | None = None
        client = transport.get_extra_info("peername") or ("", id(self))  # None: gone already
        self._key: Key = (transport.get_extra_info("sockname")[:2], client[:2])
        self._open[self._key] = self
        self._busy = False
        self._idle_since = self._clock.time()
        self._room: float = MAX_HEAD  # bytes that may come before the next request begins
        self._expect_within(self.head_seconds)
        self._make_way()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._open.get(self._key) is self:
            del self._open[self._key]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._room -= len(data)
        if self._room < 0:
            # After the app's task, if these bytes complete a request.
            self._clock.call_soon(self._cut_if_flooded)

    def begin(self, headers: Headers) -> None:
        """Note that the app begins a request."""
        self._busy = True
        # A client may send the rest of the body, and the next request before this one's answer.
        length = headers.get("content-length", "0")
        body = math.inf if "transfer-encoding" in headers else int(length)
        self._room = body + MAX_HEAD + MAX_READ
        self._expect_within(REQUEST_SECONDS)

    def end(self) -> None:
        """Note that the app has answered."""
        self._busy = False
        self._idle_since = self._clock.time()
        if math.isinf(self._room):
            self._room = MAX_HEAD + MAX_READ
        self._expect_within(IDLE_SECONDS)

    def abort(self) -> None:
        """Cut the connection."""
        self._connection.abort()

    def _make_way(self) -> None:
        server = self._key[0]
        crowd = [each for each in self._open.values() if each._key[0] == server]
        if len(crowd) > min(self.max_connections, _files_allowed() - OTHER_FILES):
            # This connection is idle too, so there is always one to cut.
            idle = [each for each in crowd if not each._busy and not each._connection.is_closing()]
            min(idle, key=lambda each: each._idle_since).abort()

    def _cut_if_flooded(self) -> None:
        if self._room < 0:
            self.abort()

    def _expect_within(self, seconds: float) -> None:
        """Cut the connection after `seconds`, unless this is called again before."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._clock.call_later(seconds, self.abort)


def limited(app: ASGIApp) -> ASGIApp:
    """Return `app`, with its connections' limits applied."""

    async def app_with_limits(scope: Scope, receive: Receive, send: Send) -> None:
        connection = LimitedProtocol.of(scope) if scope["type"] == "http" else None
        if connection is None:
            await app(scope, receive, send)
            return
        connection.begin(Headers(scope=scope))
        try:
            await app(scope, receive, send)
        finally:
            connection.end()

    return app_with_limits


def options() -> dict[str, Any]:
    """Return the options of uvicorn.Config for an app that is `limited`."""
    return {
        "http": LimitedProtocol,
        "interface": "asgi3",
        "ws": "none",
        "access_log": False,
        "timeout_keep_alive": int(IDLE_SECONDS),
        "server_header": False,
        "proxy_headers": False,
    }


def _files_allowed() -> int:
    """Return how many files the system lets this process open."""
    try:
        from resource import RLIMIT_NOFILE, getrlimit
    except ModuleNotFoundError:  # Windows
        return MAX_CONNECTIONS + OTHER_FILES
    allowed = getrlimit(RLIMIT_NOFILE)[0]
    return MAX_CONNECTIONS + OTHER_FILES if allowed < 0 else allowed  # below 0: no limit
