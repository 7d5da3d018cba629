"""The ASGI app: routes, and what every request passes on its way to them and back."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import python_multipart  # noqa: F401  # Starlette would only miss it when a form comes
from anyio import fail_after
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgecat.classifier import Classifier
from edgecat.errors import PhotoError
from edgecat.foreign.description import Description
from edgecat.photo import EncodedPhoto
from edgecat.server import vision_protocol as protocol
from edgecat.server.log import write_line
from edgecat.server.metrics import Metrics
from edgecat.server.openapi import openapi
from edgecat.server.page import Page
from edgecat.server.pool import MAX_WAITING, Answer, FullError, Pool
from edgecat.server.vision_protocol import MAX_BODY, MAX_PHOTO, Question, Record, RefusedError

MULTIPART = 64 * 1024  # bytes around a photo in a form
LARGE = (
    1024 * 1024
)  # bytes; a body with more is read in a thread, so that others are answered meanwhile
STILL_RECEIVED = 4  # times the limit; so much of a body that is too large is read off, so that its sender gets to hear why it is refused

log = logging.getLogger("edgecat.server")


class Limits(NamedTuple):
    """How long things may take, in seconds, and how much may be held."""

    silence: float = 10.0  # between two pieces of a body
    least_rate: float = 50_000.0  # bytes a second of a body on average, once `silence` is over
    answer: float = 60.0  # from the body to the answer
    waiting: int = MAX_WAITING  # photos
    held: int = 256 * 1024 * 1024  # bytes of bodies that are being received or answered


LIMITS = Limits()


@dataclass(frozen=True)
class Settings:
    """What a process needs to open the model and answer."""

    model: Path | None = None  # else the one that comes along
    engine: str | None = None
    description: Description | None = None
    key: str = ""  # that clients must show; empty where none is asked for
    threads: int = 1  # that decode and classify
    limits: Limits = LIMITS

    def open(self) -> Classifier:
        """Each thread gets an engine of its own that uses one thread. Raises ModelError, EngineError."""
        return Classifier(self.model, engine=self.engine, threads=1, description=self.description)


def make_app(settings: Settings, classifier: Classifier | None = None) -> ASGIApp:
    """Opens the model, or uses `classifier`, and closes it with the server."""
    server = _Server(settings, classifier or settings.open())
    routes = [
        Route("/v1/images:annotate", server.annotate, methods=["POST"]),
        Route("/v1/projects/{project}/images:annotate", server.annotate, methods=["POST"]),
        Route(
            "/v1/projects/{project}/locations/{location}/images:annotate",
            server.annotate,
            methods=["POST"],
        ),
        Route("/v1/classify", server.classify, methods=["POST"]),
        Route("/v1/model", server.model, methods=["GET"]),
        Route("/healthz", server.healthz, methods=["GET"]),
        Route("/metrics", server.metrics, methods=["GET"]),
        Route("/openapi.json", server.openapi, methods=["GET"]),
        Route("/", server.page, methods=["GET"]),
    ]
    handlers: Mapping[Any, Any] = {
        RefusedError: _refused,
        HTTPException: _refused_by_starlette,
        ClientDisconnect: _gone,
        Exception: _unforeseen,
    }
    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=server.lifespan)
    app.router.redirect_slashes = False
    return _Front(app, settings, server.counters)


class _Server:
    """The endpoints."""

    def __init__(self, settings: Settings, classifier: Classifier) -> None:
        self.classifier = classifier
        self.limits = settings.limits
        self._held = 0
        self.pool = Pool(classifier, settings.threads, settings.limits.waiting)
        self.counters = Metrics()
        self.counters.model(classifier.name, classifier.engine, version("edgecat"))
        self._page = Page()
        self._openapi = json.dumps(openapi(bool(settings.key)), indent=1).encode()
        self._card = classifier.card.to_json().encode()

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self.pool.close()
            self.classifier.close()

    async def annotate(self, request: Request) -> Response:
        """Google's images:annotate."""
        _check_content_type(request.headers, "application/json")
        async with self._body(request, MAX_BODY) as body:
            began = time.perf_counter()
            questions = (
                await asyncio.to_thread(protocol.read_request, body)
                if len(body) > LARGE
                else protocol.read_request(body)
            )
            request.state.stages["read"] = time.perf_counter() - began
            asked = [number for number, question in enumerate(questions) if question.content]
            answers = await self._classify(
                request,
                [
                    EncodedPhoto(f"requests[{number}]", questions[number].content)
                    for number in asked
                ],
            )
        found = dict(zip(asked, answers, strict=True))
        return _json(
            {
                "responses": [
                    self._response(question, found.get(number))
                    for number, question in enumerate(questions)
                ]
            },
            request,
        )

    async def classify(self, request: Request) -> Response:
        """One photo, as the body or in a form."""
        top = _top(request)
        kind = _check_content_type(
            request.headers, "image/", "application/octet-stream", "multipart/form-data"
        )
        form = kind == "multipart/form-data"
        async with self._body(request, MAX_PHOTO + MULTIPART * form) as body:
            photo, name = await _from_form(request.headers, body) if form else (body, "")
            if not photo:
                raise RefusedError(
                    400, "No photo: expected one as the body, or as a file in a form."
                )
            if len(photo) > MAX_PHOTO:
                raise protocol.too_large(MAX_PHOTO)
            [answer] = await self._classify(request, [EncodedPhoto(name or "body", photo)])
        if answer is None:
            raise RefusedError(504, protocol.TOO_LATE["message"])
        if isinstance(answer.result, PhotoError):
            raise RefusedError(400, str(answer.result))
        return _json(answer.result.record(name or "-", top), request)

    async def model(self, _: Request) -> Response:
        return Response(self._card, media_type="application/json")

    async def healthz(self, _: Request) -> Response:
        return _json(
            {
                "status": "ok",
                "model": self.classifier.name,
                "engine": self.classifier.engine,
                "waiting": self.pool.waiting,
            }
        )

    async def metrics(self, _: Request) -> Response:
        return Response(self.counters.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, _: Request) -> Response:
        return Response(self._openapi, media_type="application/json")

    async def page(self, _: Request) -> Response:
        return Response(
            self._page.content, headers=self._page.headers, media_type="text/html; charset=utf-8"
        )

    @asynccontextmanager
    async def _body(self, request: Request, limit: int) -> AsyncIterator[bytes]:
        """The body of a request that says how long it is, held until the end. Raises RefusedError."""
        if "content-length" not in request.headers:
            raise RefusedError(
                411, "The request has no Content-Length; send it with the length of its body."
            )
        length = int(request.headers["content-length"])
        if length > STILL_RECEIVED * limit:
            raise protocol.too_large(limit)
        began, silence, least_rate = (
            time.perf_counter(),
            self.limits.silence,
            self.limits.least_rate,
        )
        received, kept, more = 0, bytearray(), True
        try:
            while more:
                try:
                    with fail_after(
                        min(
                            silence, silence + received / least_rate - (time.perf_counter() - began)
                        )
                    ):
                        message = await request.receive()
                except TimeoutError:
                    raise RefusedError(
                        408, "The request's body came too slowly.", headers={"Connection": "close"}
                    ) from None
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                received += len(message["body"])
                if length <= limit:
                    self._held += len(message["body"])
                    kept += message["body"]
                if self._held > self.limits.held:
                    raise protocol.too_busy(1)
                more = message["more_body"]
            if length > limit:
                raise protocol.too_large(limit)
            request.state.received = received
            request.state.stages["receive"] = time.perf_counter() - began
            yield bytes(kept)
        finally:
            self._held -= len(kept)

    async def _classify(
        self, request: Request, photos: Sequence[EncodedPhoto]
    ) -> list[Answer | None]:
        """Answers in order, None where there was no time. Raises RefusedError."""
        if not photos:
            return []
        try:
            futures = self.pool.submit(photos)
        except FullError as full:
            raise protocol.too_busy(full.seconds) from None
        _, late = await asyncio.wait(futures, timeout=self.limits.answer)
        for future in late:
            future.cancel()
        answers = [None if future in late else future.result() for future in futures]
        request.state.photos = len(photos)
        stages = request.state.stages
        for answer in answers:
            self._count(answer)
            if answer is not None:
                stages["queue"] = max(stages.get("queue", 0.0), answer.queue)
                stages["decode"] = stages.get("decode", 0.0) + answer.decode
                stages["run"] = stages.get("run", 0.0) + answer.run
        return answers

    def _count(self, answer: Answer | None) -> None:
        if answer is None:
            self.counters.photo("DEADLINE_EXCEEDED")
        elif isinstance(answer.result, PhotoError):
            self.counters.photo("INVALID_ARGUMENT")
        else:
            self.counters.photo(answer.result.label)
        if answer is not None:
            self.counters.stages(
                {"queue": answer.queue, "decode": answer.decode, "run": answer.run}
            )

    def _response(self, question: Question, answer: Answer | None) -> Record:
        if not question.content:
            return protocol.answer({}, question.error)
        if answer is None:
            return protocol.answer({}, protocol.TOO_LATE)
        if isinstance(answer.result, PhotoError):
            return protocol.answer({}, protocol.BAD_IMAGE)
        return protocol.answer(
            protocol.annotation(answer.result, self.classifier.card, question.max_results),
            question.error,
        )


class _Front:
    """Before and after every request: the key, the log, the metrics, and errors that nobody foresaw."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._key = settings.key.encode()
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        code = 0
        scope["state"] = {"stages": {}, "photos": 0, "received": 0}

        async def sending(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                MutableHeaders(scope=message)["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await _as_response(refusal)(scope, receive, sending)
            else:
                await self._app(scope, receive, sending)
        except Exception:
            log.exception("unforeseen")
            if not code:
                await _as_response(RefusedError(500, "Internal error encountered."))(
                    scope, receive, sending
                )
        finally:
            self._record(scope, code, time.perf_counter() - began)

    def _refusal(self, scope: Scope) -> RefusedError | None:
        """Why a request does not get past here, if it does not."""
        if not self._key or not scope["path"].startswith(("/v1/", "/metrics")):
            return None
        given = Headers(scope=scope).get("x-goog-api-key")
        if given is None:
            given = next(
                iter(parse_qs(scope["query_string"].decode("latin-1")).get("key", [])), None
            )
        if given is None:
            return protocol.missing_key()
        return (
            None
            if hmac.compare_digest(given.encode(errors="replace"), self._key)
            else protocol.bad_key()
        )

    def _record(self, scope: Scope, code: int, seconds: float) -> None:
        endpoint = scope.get("endpoint")
        route = endpoint.__name__ if endpoint is not None else "other"
        state = scope["state"]
        self._metrics.request(route, code, seconds)
        self._metrics.stages(
            {name: state["stages"][name] for name in ("receive", "read") if name in state["stages"]}
        )
        milliseconds = {
            f"{name}_ms": round(1000 * taken, 2) for name, taken in state["stages"].items()
        }
        client = scope["client"][0] if scope.get("client") else ""
        asked = {
            "client": client,
            "method": scope["method"],
            "path": scope["path"][:200],
            "code": code,
        }
        said = {
            **asked,
            "photos": state["photos"],
            "bytes": state["received"],
            "ms": round(1000 * seconds, 2),
            **milliseconds,
        }
        write_line(said)  # past `logging`, which would take longer than all else here


def _json(record: Record, request: Request | None = None) -> Response:
    """With the time that each stage took, as browsers show it."""
    timing = (
        {}
        if request is None
        else {
            "Server-Timing": ", ".join(
                f"{name};dur={1000 * taken:.2f}" for name, taken in request.state.stages.items()
            )
        }
    )
    return Response(
        json.dumps(record), headers=timing, media_type="application/json; charset=UTF-8"
    )


def _as_response(refusal: RefusedError) -> Response:
    return Response(
        json.dumps(refusal.envelope()),
        refusal.code,
        headers=refusal.headers,
        media_type="application/json; charset=UTF-8",
    )


async def _refused(_: Request, refusal: RefusedError) -> Response:
    return _as_response(refusal)


async def _refused_by_starlette(request: Request, error: HTTPException) -> Response:
    messages = {
        404: "Requested entity was not found.",
        405: f"{request.method} is not a method of this address.",
    }
    return _as_response(
        RefusedError(
            error.status_code, messages.get(error.status_code, error.detail), headers=error.headers
        )
    )


async def _gone(_: Request, __: ClientDisconnect) -> Response:
    return Response(status_code=499)  # as nginx calls it, for the log: nobody gets to see it


async def _unforeseen(_: Request, __: Exception) -> Response:
    return _as_response(RefusedError(500, "Internal error encountered."))


def _check_content_type(headers: Headers, *expected: str) -> str:
    """In small letters and without parameters, or empty where it is not said. Raises RefusedError."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and not kind.startswith(expected):
        raise RefusedError(
            415,
            f"Content-Type '{kind[:100]}', expected {' or '.join(f'{name}*' if name.endswith('/') else name for name in expected)}.",
        )
    return kind


def _top(request: Request) -> int | None:
    given = request.query_params.get("top")
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) < 10 and int(given)):
        raise RefusedError(400, f"top '{given[:20]}', expected a whole number of at least 1.")
    return int(given)


class _InMemory(MultiPartParser):
    spool_max_size = MAX_PHOTO + MULTIPART  # photos never touch the disk


async def _from_form(headers: Headers, body: bytes) -> tuple[bytes, str]:
    """The one file of a form, and its name. Raises RefusedError."""

    async def stream() -> AsyncIterator[bytes]:
        yield body

    try:
        form = await _InMemory(headers, stream(), max_files=1, max_fields=10).parse()  # type: ignore[arg-type]
    except (MultiPartException, ValueError) as error:
        raise RefusedError(
            400, f"The form cannot be read: {getattr(error, 'message', error)}"
        ) from None
    try:
        for _, value in form.multi_items():
            if isinstance(value, UploadFile):
                return await value.read(), value.filename or ""
    finally:
        with suppress(OSError):
            await form.close()
    return b"", ""
