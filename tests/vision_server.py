"""The server of `edgecat serve`, in this process.

It records its requests, and can be made to fail as Google's service may.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib.util
import json
import logging.config
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any, NamedTuple

import pytest

if importlib.util.find_spec("uvicorn") is None:
    pytest.skip("needs edgecat[serve]", allow_module_level=True)

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgecat.server import vision_protocol
from edgecat.server.app import make_app
from edgecat.server.connections import LimitedProtocol, limited, options
from edgecat.server.log import LOGGING
from edgecat.server.run import listen
from edgecat.server.settings import Settings

MAX_BYTES = vision_protocol.MAX_BODY
KEY = "AIzaSyTheKeyOfTheseTests-0123456789abcd"


class Fault(NamedTuple):
    """How to answer a request wrongly."""

    code: int  # HTTP's; 0 drops the connection
    status: str = ""  # google.rpc.Code's name
    message: str = ""
    details: tuple[dict[str, Any], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    after: float = 0.0  # seconds
    body: bytes | None = None  # in the place of Google's JSON


class Asked(NamedTuple):
    """A request as it came."""

    path: str
    headers: dict[str, str]
    photos: int


class Running:
    """An app on a free port of this machine, in a thread, from `with` on."""

    def __init__(self, app: ASGIApp, **more: Any) -> None:
        self._socket = listen("127.0.0.1", 0)
        self.port: int = self._socket.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        logging.config.dictConfig(LOGGING)
        config = uvicorn.Config(
            limited(app),
            log_config=None,
            lifespan="on",
            timeout_graceful_shutdown=1,
            **{**options(), **more},
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=lambda: self._uvicorn.run([self._socket]), daemon=True
        )

    def __enter__(self) -> Any:
        self._thread.start()
        while not self._uvicorn.started and self._thread.is_alive():
            time.sleep(0.01)
        return self

    def __exit__(self, *error: object) -> None:
        self._uvicorn.should_exit = True
        self._thread.join(10)
        self._socket.close()


class Process(Running):
    """`edgecat serve` as a user starts it."""

    def __init__(self, *arguments: str, stderr: Path, **environment: str) -> None:
        command = [
            sys.executable,
            "-c",
            "import edgecat.cli; edgecat.cli.main()",
            "serve",
            "--port",
            "0",
            *arguments,
        ]
        with stderr.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **environment},
            )
        assert self.process.stdout
        self.said = self.process.stdout.readline()
        self.port = int(re.findall(r":(\d+)\n$", self.said)[0])
        self.address = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        with self.process:
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()


class VisionServer(Running):
    """A server that fails as asked.

    `quota` is the number of photos that it answers; `faults` come before the answers;
    `photo_faults` are google.rpc codes for the next photos.
    """

    def __init__(
        self,
        quota: int | None = None,
        faults: tuple[Fault, ...] = (),
        photo_faults: tuple[int, ...] = (),
    ) -> None:
        self.quota = quota
        self.faults = deque(faults)
        self.photo_faults = deque(photo_faults)
        self.requests: list[Asked] = []
        self.answered: Counter[str] = (
            Counter()
        )  # sha256 of a photo -> how often it was answered, and would have been paid for
        self._app = make_app(Settings(key=KEY, threads=2))
        super().__init__(self._between)

    @property
    def environment(self) -> dict[str, str]:
        """For a client that is to find it, and may use it."""
        return {
            "EDGECAT_CLOUD_VISION_ENDPOINT": self.address,
            "GOOGLE_API_KEY": KEY,
            "NO_PROXY": "127.0.0.1",
        }

    async def _between(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        body = await request.body()
        asked = json.loads(body).get("requests", [])
        query = f"?{request.url.query}" if request.url.query else ""
        self.requests.append(Asked(request.url.path + query, dict(request.headers), len(asked)))
        fault = self.faults.popleft() if self.faults else self._over_quota(len(asked))
        if fault is not None:
            await self._fail(fault, scope, receive, send)
            return
        codes = [self.photo_faults.popleft() if self.photo_faults else 0 for _ in asked]
        good = [question for question, code in zip(asked, codes, strict=True) if not code]
        code, headers, answer = await self._ask(
            scope, json.dumps({"requests": good}).encode() if any(codes) else body
        )
        if code == 200:
            answers = iter(json.loads(answer)["responses"])
            failed = {"message": "The service is unavailable."}
            responses = [
                {"error": {"code": code, **failed}} if code else next(answers) for code in codes
            ]
            for question, response in zip(asked, responses, strict=True):
                if "error" not in response:
                    self.answered[
                        hashlib.sha256(base64.b64decode(question["image"]["content"])).hexdigest()
                    ] += 1
            answer = json.dumps({"responses": responses}).encode()
        await Response(answer, code, {"Content-Type": headers["content-type"]})(
            scope, receive, send
        )

    def _over_quota(self, photos: int) -> Fault | None:
        if self.quota is None:
            return None
        if photos > self.quota:
            return quota_exceeded("3600")
        self.quota -= photos
        return None

    async def _fail(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(fault.after)
        if fault.code == 0:
            connection = LimitedProtocol.of(scope)
            assert connection
            connection.abort()
            await asyncio.sleep(0.01)  # until uvicorn knows
            return
        error = {
            "code": fault.code,
            "message": fault.message,
            "status": fault.status,
            "details": list(fault.details),
        }
        body = json.dumps({"error": error}).encode() if fault.body is None else fault.body
        await Response(body, fault.code, dict(fault.headers), "application/json; charset=UTF-8")(
            scope, receive, send
        )

    async def _ask(self, scope: Scope, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Code, headers and body of the answer to a request with this body."""
        headers = [
            (name, str(len(body)).encode() if name == b"content-length" else value)
            for name, value in scope["headers"]
        ]
        said: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            said.append(message)

        await self._app({**scope, "headers": headers}, receive, send)
        start, *rest = said
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return start["status"], found, b"".join(message.get("body", b"") for message in rest)


def bad_key(message: str) -> Fault:
    refused = vision_protocol.bad_key()
    return Fault(refused.code, "INVALID_ARGUMENT", message, refused.details)


def quota_exceeded(retry_after: str = "") -> Fault:
    message = (
        "Quota exceeded for quota metric 'Label detection requests' and limit 'Label "
        "detection requests per minute'."
    )
    return Fault(
        429,
        "RESOURCE_EXHAUSTED",
        message,
        headers=(("Retry-After", retry_after),) if retry_after else (),
    )
