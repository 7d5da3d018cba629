"""uvicorn's HTTP protocol, with limits on how long a client may take and how much it may send before it says what it wants.

uvicorn itself waits for ever for a request that was begun, and for one that never comes.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_CONNECTIONS = 900  # of a process; a system's usual limit is 1,024 open files
MAX_HEAD = 64 * 1024  # bytes of a request line and its headers
HEAD_SECONDS = 10.0  # from a new connection to the end of its first request's headers
IDLE_SECONDS = 60.0  # from an answer to the end of the next request's headers
REQUEST_SECONDS = 300.0  # from the headers to the end of the answer; the app's own limits are shorter and answer politely


class GuardedProtocol(HttpToolsProtocol):
    """One connection, cut where its client exceeds a limit."""

    head_seconds = HEAD_SECONDS
    max_connections = MAX_CONNECTIONS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes = 0
        self._in_head = True
        self._opened = self.loop.time()
        self._deadline: asyncio.TimerHandle | None = None
        self._expect_within(self.head_seconds)
        if len(self.connections) > self.max_connections:
            silent = [
                each
                for each in self.connections
                if isinstance(each, GuardedProtocol)
                and each.cycle is None
                and not each.transport.is_closing()
            ]
            min(
                silent, key=lambda each: each._opened
            ).transport.abort()  # the one that has said nothing for longest

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_within(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self.transport.abort()

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        self._in_head = True
        super().on_message_begin()  # type: ignore[no-untyped-call, unused-ignore]

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._expect_within(REQUEST_SECONDS)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_within(None if self.transport.is_closing() else IDLE_SECONDS)

    def _expect_within(self, seconds: float | None) -> None:
        """Cut the connection after so long, unless told otherwise meanwhile."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = (
            None if seconds is None else self.loop.call_later(seconds, self.transport.abort)
        )


def options() -> dict[str, Any]:
    """For uvicorn.Config."""
    return {
        "http": GuardedProtocol,
        "interface": "asgi3",
        "ws": "none",
        "access_log": False,
        "timeout_keep_alive": int(IDLE_SECONDS),
        "server_header": False,
        "proxy_headers": False,
    }
