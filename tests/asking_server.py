"""How the tests of `edgecat serve` ask it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import importlib.util
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from real import CHELSEA

if importlib.util.find_spec("uvicorn") is None:
    pytest.skip("needs edgecat[serve]", allow_module_level=True)

from vision_server import Running

JSON = {"Content-Type": "application/json"}
LABELS = [{"type": "LABEL_DETECTION"}]
CUT = CHELSEA.read_bytes()[:9000]


class Answer(NamedTuple):
    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    server: Running,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )


def question(content: bytes, **more: Any) -> dict[str, Any]:
    return {"image": {"content": base64.b64encode(content).decode()}, "features": LABELS, **more}


def annotate(server: Running, *requests: Any, **headers: str) -> Answer:
    return ask(
        server,
        "POST",
        "/v1/images:annotate",
        json.dumps({"requests": requests}).encode(),
        {**JSON, **headers},
    )


def log_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def error_of(answer: Answer) -> tuple[int, int, str, str]:
    error = answer.json["error"]
    return answer.code, error["code"], error["status"], error["message"]
