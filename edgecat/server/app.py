"""The ASGI app: its routes, and what each of them answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from edgecat.classifier import Classifier
from edgecat.errors import PhotoError
from edgecat.photo import EncodedPhoto
from edgecat.server import vision_protocol as protocol
from edgecat.server.answers import HANDLERS, json_answer
from edgecat.server.bodies import MULTIPART, Bodies, check_content_type, photo_of_form
from edgecat.server.front import Front
from edgecat.server.metrics import Metrics
from edgecat.server.openapi import openapi_json
from edgecat.server.page import Page
from edgecat.server.pool import Answer, FullError, Pool
from edgecat.server.settings import Settings
from edgecat.server.vision_protocol import MAX_BODY, MAX_PHOTO, RefusedError
from edgecat.server.vision_request import Question, read_request

# Bytes; a larger body is read in a thread, so that other requests are answered meanwhile.
LARGE = 1024 * 1024

ANNOTATE = (
    "/v1/images:annotate",
    "/v1/projects/{project}/images:annotate",
    "/v1/projects/{project}/locations/{location}/images:annotate",
)


def make_app(settings: Settings, classifier: Classifier | None = None) -> ASGIApp:
    """Return the app. It owns `classifier`, or opens one, and closes it at the end."""
    server = _Server(settings, classifier or settings.open())
    routes = [
        *(Route(path, server.annotate, methods=["POST"]) for path in ANNOTATE),
        Route("/v1/classify", server.classify, methods=["POST"]),
        Route("/v1/model", server.model, methods=["GET"]),
        Route("/healthz", server.healthz, methods=["GET"]),
        Route("/metrics", server.metrics, methods=["GET"]),
        Route("/openapi.json", server.openapi, methods=["GET"]),
        Route("/", server.page, methods=["GET"]),
    ]
    app = Starlette(routes=routes, exception_handlers=HANDLERS, lifespan=server.lifespan)
    app.router.redirect_slashes = False
    return Front(app, settings.key, server.counters)


class _Server:
    """The endpoints."""

    def __init__(self, settings: Settings, classifier: Classifier) -> None:
        self.classifier = classifier
        self.limits = settings.limits
        self.bodies = Bodies(settings.limits)
        self.pool = Pool(classifier, settings.threads, settings.limits.waiting)
        self.counters = Metrics()
        self.counters.model(classifier.name, classifier.engine, version("edgecat"))
        self._page = Page()
        self._openapi = openapi_json(bool(settings.key))
        self._card = classifier.card.to_json().encode()

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self.pool.close()
            self.classifier.close()

    async def annotate(self, request: Request) -> Response:
        """Answer Google's images:annotate."""
        check_content_type(request.headers, "application/json")
        async with self.bodies.receive(request, MAX_BODY) as body:
            began = time.perf_counter()
            if len(body) > LARGE:
                questions = await asyncio.to_thread(read_request, body)
            else:
                questions = read_request(body)
            request.state.stages["read"] = time.perf_counter() - began
            photos = {
                number: EncodedPhoto(f"requests[{number}]", question.content)
                for number, question in enumerate(questions)
                if question.content
            }
            answers = await self._classify(request, list(photos.values()))
        by_number = dict(zip(photos, answers, strict=True))
        responses = [
            self._response(question, by_number.get(number))
            for number, question in enumerate(questions)
        ]
        return json_answer({"responses": responses}, request)

    async def classify(self, request: Request) -> Response:
        """Answer about one photo, the body or a file in a form."""
        top = _top(request)
        kind = check_content_type(
            request.headers, "image/", "application/octet-stream", "multipart/form-data"
        )
        form = kind == "multipart/form-data"
        async with self.bodies.receive(request, MAX_PHOTO + MULTIPART * form) as body:
            photo, name = await photo_of_form(request.headers, body) if form else (body, "")
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
        return json_answer(answer.result.record(name or "-", top), request)

    async def model(self, _: Request) -> Response:
        return Response(self._card, media_type="application/json")

    async def healthz(self, _: Request) -> Response:
        return json_answer(
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

    async def _classify(
        self, request: Request, photos: Sequence[EncodedPhoto]
    ) -> list[Answer | None]:
        """Return answers in order; None for a photo that took too long. Raise RefusedError."""
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
            return
        if isinstance(answer.result, PhotoError):
            self.counters.photo("INVALID_ARGUMENT")
        else:
            self.counters.photo(answer.result.label)
        self.counters.stages({"queue": answer.queue, "decode": answer.decode, "run": answer.run})

    def _response(self, question: Question, answer: Answer | None) -> protocol.Record:
        """Return one photo's AnnotateImageResponse."""
        if not question.content:
            return protocol.response({}, question.error)
        if answer is None:
            return protocol.response({}, protocol.TOO_LATE)
        if isinstance(answer.result, PhotoError):
            return protocol.response({}, protocol.BAD_IMAGE)
        annotation = protocol.annotation(answer.result, self.classifier.card, question.max_results)
        return protocol.response(annotation, question.error)


def _top(request: Request) -> int | None:
    """Return ?top=, how many labels to answer with. Raise RefusedError."""
    text = request.query_params.get("top")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise RefusedError(400, f"top '{text[:20]}', expected a whole number of at least 1.")
    return int(text)
