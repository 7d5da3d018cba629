"""HTTP answers: JSON, and Google's envelope for errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from edgecat.server.vision_protocol import Record, RefusedError

JSON = "application/json; charset=UTF-8"
INTERNAL = "Internal error encountered."
CLIENT_GONE = 499  # nginx's code, for the log; no client sees it


def json_answer(record: Record, request: Request | None = None) -> Response:
    """Return `record` as JSON; with the seconds of the request's stages, as browsers show them."""
    headers = {}
    if request is not None:
        stages = request.state.stages.items()
        headers["Server-Timing"] = ", ".join(
            f"{name};dur={1000 * seconds:.2f}" for name, seconds in stages
        )
    return Response(json.dumps(record), headers=headers, media_type=JSON)


def refusal_answer(refusal: RefusedError) -> Response:
    """Return a refusal in Google's envelope."""
    return Response(
        json.dumps(refusal.envelope()), refusal.code, headers=refusal.headers, media_type=JSON
    )


def internal_error() -> Response:
    """Return the answer to an error that nobody foresaw."""
    return refusal_answer(RefusedError(500, INTERNAL))


async def _refused(_: Request, refusal: RefusedError) -> Response:
    return refusal_answer(refusal)


async def _refused_by_starlette(request: Request, error: HTTPException) -> Response:
    messages = {
        404: "Requested entity was not found.",
        405: f"{request.method} is not a method of this address.",
    }
    message = messages.get(error.status_code, error.detail)
    return refusal_answer(RefusedError(error.status_code, message, headers=error.headers))


async def _client_gone(_: Request, __: ClientDisconnect) -> Response:
    return Response(status_code=CLIENT_GONE)


async def _unforeseen(_: Request, __: Exception) -> Response:
    return internal_error()


HANDLERS: Mapping[Any, Any] = {  # exception -> its answer, for Starlette
    RefusedError: _refused,
    HTTPException: _refused_by_starlette,
    ClientDisconnect: _client_gone,
    Exception: _unforeseen,
}
