"""Bodies of requests: received within limits, and photos out of forms."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import python_multipart  # noqa: F401  # Starlette would only miss it when a form comes
from anyio import fail_after
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from edgecat.server.settings import Limits
from edgecat.server.vision_protocol import MAX_PHOTO, RefusedError, too_busy, too_large

MULTIPART = 64 * 1024  # bytes around a photo in a form
# A body that is refused is received up to this multiple of its limit, and dropped.
# A client that is still sending would not get the answer.
STILL_RECEIVED = 4


class Bodies:
    """Receives bodies; `limits.held` limits the bytes of all that are in memory."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    @asynccontextmanager
    async def receive(self, request: Request, limit: int) -> AsyncIterator[bytes]:
        """Yield the body of a request that states its length.

        Its bytes count as held until the block ends. Raise RefusedError if the request states
        no length, or if the body is larger than `limit` bytes or comes too slowly.
        """
        length = _stated_length(request.headers)
        if length is not None and length > STILL_RECEIVED * limit:
            raise too_large(limit)
        wanted = length is not None and length <= limit
        began = time.perf_counter()
        received, kept = 0, bytearray()
        try:
            async for piece in self._pieces(request, began):
                received += len(piece)
                if wanted:
                    kept += piece
                    self._held += len(piece)
                if self._held > self._limits.held:
                    raise too_busy(1)
                if received > STILL_RECEIVED * limit:
                    break
            if length is None:
                raise RefusedError(
                    411, "The request has no Content-Length; send it with the length of its body."
                )
            if not wanted:
                raise too_large(limit)
            request.state.received = received
            request.state.stages["receive"] = time.perf_counter() - began
            yield bytes(kept)
        finally:
            self._held -= len(kept)

    async def _pieces(self, request: Request, began: float) -> AsyncIterator[bytes]:
        """Yield the pieces of a body. Raise RefusedError if they come too slowly."""
        silence, least_rate = self._limits.silence, self._limits.least_rate
        received, more = 0, True
        while more:
            left = silence + received / least_rate - (time.perf_counter() - began)
            try:
                with fail_after(min(silence, left)):
                    message = await request.receive()
            except TimeoutError:
                raise RefusedError(
                    408, "The request's body came too slowly.", headers={"Connection": "close"}
                ) from None
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            received += len(message["body"])
            more = message["more_body"]
            yield message["body"]


def check_content_type(headers: Headers, *expected: str) -> str:
    """Return the content type in lower case, without parameters; empty if there is none.

    `expected` are types, or beginnings of them that end in "/". Raise RefusedError.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and not kind.startswith(expected):
        names = " or ".join(f"{name}*" if name.endswith("/") else name for name in expected)
        raise RefusedError(415, f"Content-Type '{kind[:100]}', expected {names}.")
    return kind


async def photo_of_form(headers: Headers, body: bytes) -> tuple[bytes, str]:
    """Return the one file of a form and its name; both empty if there is none.

    Raise RefusedError if the form cannot be read.
    """

    async def stream() -> AsyncIterator[bytes]:
        yield body

    parser = _InMemory(headers, stream(), max_files=1, max_fields=10)  # type: ignore[arg-type]
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError) as error:
        message = getattr(error, "message", error)
        raise RefusedError(400, f"The form cannot be read: {message}") from None
    try:
        for _, value in form.multi_items():
            if isinstance(value, UploadFile):
                return await value.read(), value.filename or ""
    finally:
        with suppress(OSError):
            await form.close()
    return b"", ""


class _InMemory(MultiPartParser):
    spool_max_size = MAX_PHOTO + MULTIPART  # photos are never written to the disk


def _stated_length(headers: Headers) -> int | None:
    stated = headers.get("content-length")
    return None if stated is None else int(stated)
