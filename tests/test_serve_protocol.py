"""`edgecat serve`: Cloud Vision's protocol, right and wrong requests."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from real import CHELSEA, COFFEE

if importlib.util.find_spec("uvicorn") is None:
    pytest.skip("needs edgecat[serve]", allow_module_level=True)

from asking_server import CUT, JSON, LABELS, annotate, ask, question
from vision_server import Running

from edgecat import Classifier
from edgecat.server.app import make_app
from edgecat.server.settings import Settings


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with Running(make_app(Settings(threads=2))) as running:
        yield running


@pytest.fixture(scope="module")
def scores() -> dict[str, float]:
    """Of the cat, by the classifier itself."""
    with Classifier(threads=1) as classifier:
        return dict(classifier.classify(CHELSEA).scores)


def test_scores_are_the_classifiers_to_the_bit(server: Running, scores: dict[str, float]) -> None:
    answer = annotate(server, question(CHELSEA.read_bytes()))
    expected = {
        "mid": "/m/01yrx",
        "description": "Cat",
        "score": scores["cat"],
        "topicality": scores["cat"],
    }
    assert (answer.code, answer.json) == (200, {"responses": [{"labelAnnotations": [expected]}]})
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"


def test_json_as_protobuf_reads_it(server: Running) -> None:
    content = base64.urlsafe_b64encode(CHELSEA.read_bytes()).decode().rstrip("=")
    asked = {
        "image": {"content": content, "source": None},
        "features": [{"type": 4, "max_results": "3", "model": "builtin/latest"}],
        "image_context": {},
    }
    assert (
        annotate(server, asked).json["responses"][0]["labelAnnotations"][0]["description"] == "Cat"
    )
    assert annotate(
        server, {**asked, "features": [{"type": "LABEL_DETECTION", "maxResults": 0}]}
    ).json["responses"][0]["labelAnnotations"]
    path = "/v1/projects/mine/locations/eu/images:annotate"
    body = json.dumps(
        {"requests": [asked], "parent": "projects/mine/locations/eu", "labels": {"team": "pets"}}
    ).encode()
    assert ask(server, "POST", path, body, JSON).json["responses"][0]["labelAnnotations"]


def test_sixteen_photos_in_order(server: Running) -> None:
    photos = [CHELSEA.read_bytes(), COFFEE.read_bytes()] * 8
    found = annotate(server, *map(question, photos)).json["responses"]
    assert [bool(answer) for answer in found] == [True, False] * 8


BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


@pytest.mark.parametrize(
    ("body", "message", "field"),
    [
        (b"", r"Invalid JSON payload received\. Expecting value.*", None),
        (b'{"requests": [', r"Invalid JSON payload received\. Expecting value.*", None),
        (b"\xff\xfe\x00", r"Invalid JSON payload received\. .*", None),
        (b"[" * 100_000, r"Invalid JSON payload received\. .*recursion.*", None),
        (b"[]", r"Invalid JSON payload received\. Root element must be an object\.", ""),
        (b"{}", r"No images in the request: expected 1 to 16 in requests\.", "requests"),
        (
            b'{"requests": []}',
            r"No images in the request: expected 1 to 16 in requests\.",
            "requests",
        ),
        (
            json.dumps({"requests": [{}] * 17}).encode(),
            r"Too many images per request: 17, at most 16\.",
            "requests",
        ),
        (b'{"requests": {}}', r"Invalid value at 'requests', expected a list\.", "requests"),
        (
            b'{"requests": [7]}',
            r"Invalid value at 'requests\[0\]', expected an object\.",
            "requests[0]",
        ),
        (
            b'{"request": []}',
            r'Invalid JSON payload received\. Unknown name "request": Cannot find field\.',
            "",
        ),
        (
            b'{"requests": [{"img": 1}]}',
            r"Invalid JSON payload received\. Unknown name \"img\" at 'requests\[0\]': "
            r"Cannot find field\.",
            "requests[0]",
        ),
        (
            b'{"requests": [{}, {"image": {"content": "*no base64*"}}]}',
            r"Invalid value at 'requests\[1\]\.image\.content' \(TYPE_BYTES\), Base64 "
            r"decoding failed\.",
            "requests[1].image.content",
        ),
        (
            b'{"requests": [{"image": {"content": 5}}]}',
            r"Invalid value at .* Base64 decoding failed\.",
            "requests[0].image.content",
        ),
        (
            b'{"requests": [{"features": [{"type": "CAT_DETECTION"}]}]}',
            r"Invalid value at 'requests\[0\]\.features\[0\]\.type' "
            r"\(type\.googleapis\.com/google\.cloud\.vision\.v1\.Feature\.Type\), "
            r"\"CAT_DETECTION\"",
            "requests[0].features[0].type",
        ),
        (
            b'{"requests": [{"features": [{"maxResults": false}]}]}',
            r"Invalid value at .*max_results' \(TYPE_INT32\), false",
            "requests[0].features[0].max_results",
        ),
        (
            b'{"requests": [{"features": [{"type": 4, "maxResults": "many"}]}]}',
            r"Invalid value at 'requests\[0\]\.features\[0\]\.max_results' "
            r"\(TYPE_INT32\), \"many\"",
            "requests[0].features[0].max_results",
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else None,
)
def test_a_request_that_is_wrong(
    server: Running, body: bytes, message: str, field: str | None
) -> None:
    answer = ask(server, "POST", "/v1/images:annotate", body, JSON)
    error = answer.json["error"]
    assert (answer.code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert re.fullmatch(message, error["message"], re.DOTALL), error["message"]
    if field is not None:
        assert error["details"][0]["@type"] == BAD_REQUEST
        assert error["details"][0]["fieldViolations"][0].get("field", "") == field


@pytest.mark.parametrize(
    ("asked", "code", "message"),
    [
        ({}, 3, "Request must specify image and features."),
        (None, 3, "Request must specify image and features."),
        ({"features": LABELS}, 3, "Request must specify image and features."),
        ({**question(b"x"), "features": []}, 3, "Request must specify image and features."),
        (question(b"no photo"), 3, "Bad image data."),
        (question(CUT), 3, "Bad image data."),
        (
            {**question(b"x"), "features": [{"type": 4, "maxResults": -1}]},
            3,
            "max_results -1: expected at least 0.",
        ),
        (
            {**question(b"x"), "features": [{}]},
            12,
            "TYPE_UNSPECIFIED: this server answers LABEL_DETECTION alone.",
        ),
        (
            {**question(b"x"), "features": [{"type": "OBJECT_LOCALIZATION"}]},
            12,
            "OBJECT_LOCALIZATION: this server answers LABEL_DETECTION alone.",
        ),
        (
            {"image": {"source": {"imageUri": "http://127.0.0.1/"}}, "features": LABELS},
            7,
            "We're not allowed to access the URL on your behalf. Please download the "
            "content and pass it in.",
        ),
        (
            {"image": {"source": {"imageUri": "gs://b/c.jpg"}}, "features": LABELS},
            7,
            "Error opening file: gs://b/c.jpg",
        ),
    ],
)
def test_one_photo_that_is_wrong_leaves_the_others_alone(
    server: Running, asked: Any, code: int, message: str
) -> None:
    answer = annotate(server, question(CHELSEA.read_bytes()), asked, question(CHELSEA.read_bytes()))
    first, wrong, last = answer.json["responses"]
    assert (answer.code, wrong) == (200, {"error": {"code": code, "message": message}})
    assert first == last
    assert first["labelAnnotations"][0]["description"] == "Cat"
