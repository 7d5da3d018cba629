"""Before and after every request: the key, the log, the metrics, unforeseen errors."""

from __future__ import annotations

import hmac
import logging
import time
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgecat.server import vision_protocol as protocol
from edgecat.server.answers import internal_error, refusal_answer
from edgecat.server.log import write_line
from edgecat.server.metrics import Metrics

KEYED = ("/v1/", "/metrics")  # beginnings of the paths that need the key

log = logging.getLogger("edgecat.server")


class Front:
    """The ASGI app that clients reach; `app` answers the requests that are let through."""

    def __init__(self, app: ASGIApp, key: str, metrics: Metrics) -> None:
        self._app = app
        self._key = key.encode()
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        code = 0
        scope["state"] = {"stages": {}, "photos": 0, "received": 0}

        async def noting_send(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                MutableHeaders(scope=message)["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            refusal = self._refusal(scope)
            app = self._app if refusal is None else refusal_answer(refusal)
            await app(scope, receive, noting_send)
        except Exception:
            log.exception("unforeseen")
            if not code:
                await internal_error()(scope, receive, noting_send)
        finally:
            self._record(scope, code, time.perf_counter() - began)

    def _refusal(self, scope: Scope) -> protocol.RefusedError | None:
        """Return why a request is not let through; None if it is."""
        if not self._key or not scope["path"].startswith(KEYED):
            return None
        sent = Headers(scope=scope).get("x-goog-api-key")
        if sent is None:
            query = parse_qs(scope["query_string"].decode("latin-1"))
            sent = next(iter(query.get("key", [])), None)
        if sent is None:
            return protocol.missing_key()
        if not hmac.compare_digest(sent.encode(errors="replace"), self._key):
            return protocol.bad_key()
        return None

    def _record(self, scope: Scope, code: int, seconds: float) -> None:
        """Count a request and log it."""
        endpoint = scope.get("endpoint")
        state = scope["state"]
        stages = state["stages"]
        self._metrics.request(endpoint.__name__ if endpoint else "other", code, seconds)
        # The stages of photos are counted photo by photo.
        of_request = {name: stages[name] for name in ("receive", "read") if name in stages}
        self._metrics.stages(of_request)
        # Not by `logging`, which would take longer than everything else here.
        write_line(
            {
                "client": scope["client"][0] if scope.get("client") else "",
                "method": scope["method"],
                "path": scope["path"][:200],
                "code": code,
                "photos": state["photos"],
                "bytes": state["received"],
                "ms": round(1000 * seconds, 2),
                **{f"{name}_ms": round(1000 * taken, 2) for name, taken in stages.items()},
            }
        )
