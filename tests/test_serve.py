"""`edgecat serve`: the protocol with Google's own client, the plain API, what is refused, and what keeps it up."""

from __future__ import annotations

import base64
import contextlib
import http.client
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image
from real import CHELSEA, COFFEE, ROOT, Run

if importlib.util.find_spec("uvicorn") is None:
    pytest.skip("needs edgecat[serve]", allow_module_level=True)

from vision_server import KEY, Process, Running

from edgecat import Classifier
from edgecat.server.app import Limits, Settings, make_app
from edgecat.server.http import GuardedProtocol
from edgecat.server.vision_protocol import MAX_BODY, MAX_PHOTO

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


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with Running(make_app(Settings(threads=2))) as running:
        yield running


@pytest.fixture(scope="module")
def scores() -> dict[str, float]:
    """Of the cat, by the classifier itself."""
    with Classifier(threads=1) as classifier:
        return dict(classifier.classify(CHELSEA).scores)


def log_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


# Google's own client, unmodified


@pytest.fixture
def google(server: Running, monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("google.cloud.vision", reason="needs edgecat[cloud]")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import vision
    from google.cloud.vision_v1.services.image_annotator.transports import (
        ImageAnnotatorRestTransport,
    )

    transport = ImageAnnotatorRestTransport(
        host=f"127.0.0.1:{server.port}", url_scheme="http", credentials=AnonymousCredentials()
    )
    with vision.ImageAnnotatorClient(transport=transport) as client:
        yield client


def test_googles_client(google: Any, scores: dict[str, float]) -> None:
    from google.cloud import vision

    cat = google.label_detection(image=vision.Image(content=CHELSEA.read_bytes()))
    [label] = cat.label_annotations
    assert (label.mid, label.description) == ("/m/01yrx", "Cat")
    assert label.score == label.topicality == scores["cat"]
    assert cat.error.code == 0
    assert (
        list(
            google.label_detection(
                image=vision.Image(content=COFFEE.read_bytes())
            ).label_annotations
        )
        == []
    )


def test_googles_client_with_a_broken_photo_among_good_ones(google: Any) -> None:
    from google.cloud import vision

    features = [vision.Feature(type_=vision.Feature.Type.LABEL_DETECTION, max_results=5)]
    photos = [CHELSEA.read_bytes(), CUT, CHELSEA.read_bytes(), b"no photo"]
    asked = [
        vision.AnnotateImageRequest(image=vision.Image(content=photo), features=features)
        for photo in photos
    ]
    answers = google.batch_annotate_images(requests=asked).responses
    assert [[label.description for label in answer.label_annotations] for answer in answers] == [
        ["Cat"],
        [],
        ["Cat"],
        [],
    ]
    assert [(answer.error.code, answer.error.message) for answer in answers] == [
        (0, ""),
        (3, "Bad image data."),
        (0, ""),
        (3, "Bad image data."),
    ]


def test_googles_client_gets_googles_errors(google: Any) -> None:
    from google.api_core.exceptions import BadRequest
    from google.cloud import vision

    answer = google.label_detection(
        image=vision.Image(source=vision.ImageSource(image_uri="https://example.com/cat.jpg"))
    )
    assert answer.error.code == 7
    assert (
        answer.error.message
        == "We're not allowed to access the URL on your behalf. Please download the content and pass it in."
    )
    answer = google.label_detection(
        image=vision.Image(source=vision.ImageSource(gcs_image_uri="gs://bucket/cat.jpg"))
    )
    assert (answer.error.code, answer.error.message) == (
        7,
        "Error opening file: gs://bucket/cat.jpg",
    )
    answer = google.face_detection(image=vision.Image(content=CHELSEA.read_bytes()))
    assert (answer.error.code, answer.error.message) == (
        12,
        "FACE_DETECTION: this server answers LABEL_DETECTION alone.",
    )
    features = [
        vision.Feature(type_=kind)
        for kind in (vision.Feature.Type.LABEL_DETECTION, vision.Feature.Type.SAFE_SEARCH_DETECTION)
    ]
    answer = google.annotate_image(
        {"image": {"content": CHELSEA.read_bytes()}, "features": features}
    )
    assert [label.description for label in answer.label_annotations] == [
        "Cat"
    ]  # what can be answered is
    assert answer.error.code == 12
    with pytest.raises(BadRequest, match="Too many images per request: 17"):
        google.batch_annotate_images(
            requests=[
                vision.AnnotateImageRequest(image=vision.Image(content=b"x"), features=features)
            ]
            * 17
        )


def test_the_example_of_the_readme(
    server: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("google.cloud.vision", reason="needs edgecat[cloud]")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(ROOT)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [example] = [
        found
        for found in re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
        if "ImageAnnotatorRestTransport" in found
    ]
    assert "127.0.0.1:8080" in example
    exec(
        compile(example.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}"), "README.md", "exec"),
        {},
    )
    assert capsys.readouterr().out == "Cat 0.99609375\n"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_of_the_readme(server: Running, tmp_path: Path) -> None:
    [commands] = [
        found
        for found in re.findall(
            r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
        )
        if "images:annotate" in found
    ]
    shutil.copy(CHELSEA, tmp_path / "cat.jpg")
    command = [
        "bash",
        "-ec",
        commands.replace("curl ", "curl -sSw '\\n' --noproxy '*' ").replace(
            ":8080", f":{server.port}"
        ),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    protocol, in_a_form, as_body = map(json.loads, done.stdout.splitlines())
    assert protocol["responses"][0]["labelAnnotations"][0]["description"] == "Cat"
    assert (in_a_form["photo"], in_a_form["label"]) == ("cat.jpg", "cat")
    assert (as_body["photo"], as_body["scores"]) == ("-", {"cat": 0.996094})


# The protocol by hand


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
            r"Invalid JSON payload received\. Unknown name \"img\" at 'requests\[0\]': Cannot find field\.",
            "requests[0]",
        ),
        (
            b'{"requests": [{}, {"image": {"content": "*no base64*"}}]}',
            r"Invalid value at 'requests\[1\]\.image\.content' \(TYPE_BYTES\), Base64 decoding failed\.",
            "requests[1].image.content",
        ),
        (
            b'{"requests": [{"image": {"content": 5}}]}',
            r"Invalid value at .* Base64 decoding failed\.",
            "requests[0].image.content",
        ),
        (
            b'{"requests": [{"features": [{"type": "CAT_DETECTION"}]}]}',
            r"Invalid value at 'requests\[0\]\.features\[0\]\.type' \(type\.googleapis\.com/google\.cloud\.vision\.v1\.Feature\.Type\), \"CAT_DETECTION\"",
            "requests[0].features[0].type",
        ),
        (
            b'{"requests": [{"features": [{"maxResults": false}]}]}',
            r"Invalid value at .*max_results' \(TYPE_INT32\), false",
            "requests[0].features[0].max_results",
        ),
        (
            b'{"requests": [{"features": [{"type": 4, "maxResults": "many"}]}]}',
            r"Invalid value at 'requests\[0\]\.features\[0\]\.max_results' \(TYPE_INT32\), \"many\"",
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
            "We're not allowed to access the URL on your behalf. Please download the content and pass it in.",
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


def bomb(width: int, height: int) -> bytes:
    """A PNG of so many black pixels, as small as such a thing can be made."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        )

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    row = b"\0" * (width // 8 + 1)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size + b"\x01\0\0\0\0")
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("width", "height"),
    [(9000, 9000), (12_000, 9000), (50_000, 50_000)],
    ids=["81 MP", "108 MP", "2500 MP"],
)
def test_a_bomb(server: Running, width: int, height: int) -> None:
    content = bomb(width, height)
    assert len(content) < 500_000
    answer = annotate(server, question(content), question(CHELSEA.read_bytes()))
    assert answer.json["responses"][0] == {"error": {"code": 3, "message": "Bad image data."}}
    assert "labelAnnotations" in answer.json["responses"][1]
    answer = ask(server, "POST", "/v1/classify", content)
    message = "body: more than 75 megapixels, refused as a decompression bomb; scale it down first"
    assert (answer.code, answer.json) == (
        400,
        {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}},
    )


def test_a_large_photo_is_no_bomb(server: Running) -> None:
    file = io.BytesIO()
    Image.open(CHELSEA).resize((6000, 4000)).save(file, "JPEG")
    assert ask(server, "POST", "/v1/classify", file.getvalue()).json["label"] == "cat"


def error_of(answer: Answer) -> tuple[int, int, str, str]:
    error = answer.json["error"]
    return answer.code, error["code"], error["status"], error["message"]


def test_a_body_that_is_too_large(server: Running) -> None:
    body = b" " * (11 * 1024 * 1024)
    expected = (
        400,
        400,
        "INVALID_ARGUMENT",
        f"Request payload size exceeds the limit: {MAX_BODY} bytes.",
    )
    assert error_of(ask(server, "POST", "/v1/images:annotate", body, JSON)) == expected
    with socket.create_connection(
        ("127.0.0.1", server.port)
    ) as huge:  # of which not a byte need be sent
        huge.sendall(
            b"POST /v1/images:annotate HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
        )
        assert huge.recv(1000).startswith(b"HTTP/1.1 400 Bad Request")
    too_large = ask(server, "POST", "/v1/classify", b" " * (MAX_PHOTO + 1))
    assert error_of(too_large) == (
        400,
        400,
        "INVALID_ARGUMENT",
        f"Request payload size exceeds the limit: {MAX_PHOTO} bytes.",
    )


@pytest.mark.parametrize("path", ["/v1/images:annotate", "/v1/classify"])
def test_a_body_without_length(server: Running, path: str) -> None:
    expected = (
        411,
        411,
        "INVALID_ARGUMENT",
        "The request has no Content-Length; send it with the length of its body.",
    )
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with contextlib.closing(connection):
        for _ in range(2):  # the connection goes on being of use
            connection.request(
                "POST",
                path,
                iter([b'{"requests"', b": []}"]),
                encode_chunked=True,
                headers={"Transfer-Encoding": "chunked"},
            )
            response = connection.getresponse()
            assert error_of(Answer(response.status, {}, response.read())) == expected
    with socket.create_connection(("127.0.0.1", server.port)) as plain:
        plain.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert plain.recv(1000).startswith(b"HTTP/1.1 411 ")


@pytest.mark.parametrize(
    ("path", "kind", "expected"),
    [
        (
            "/v1/images:annotate",
            "text/plain",
            "Content-Type 'text/plain', expected application/json.",
        ),
        (
            "/v1/classify",
            "application/x-www-form-urlencoded",
            "application/octet-stream or multipart/form-data.",
        ),
    ],
)
def test_a_wrong_content_type(server: Running, path: str, kind: str, expected: str) -> None:
    answer = ask(server, "POST", path, b"{}", {"Content-Type": kind})
    assert (answer.code, answer.json["error"]["status"]) == (415, "INVALID_ARGUMENT")
    assert answer.json["error"]["message"].endswith(expected)


def test_a_wrong_method_or_address(server: Running) -> None:
    answer = ask(server, "GET", "/v1/images:annotate")
    assert error_of(answer) == (405, 405, "UNIMPLEMENTED", "GET is not a method of this address.")
    assert answer.headers["allow"] == "POST"
    assert error_of(ask(server, "POST", "/", b"")) == (
        405,
        405,
        "UNIMPLEMENTED",
        "POST is not a method of this address.",
    )
    assert error_of(ask(server, "POST", "/v1/files:annotate", b"")) == (
        404,
        404,
        "NOT_FOUND",
        "Requested entity was not found.",
    )


def test_what_is_no_http(server: Running) -> None:
    for sent in (
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"POST /v1/classify HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000,
    ):
        with (
            socket.create_connection(("127.0.0.1", server.port)) as connection,
            contextlib.suppress(ConnectionError),
        ):
            connection.sendall(sent)
            assert connection.recv(100).startswith((b"HTTP/1.1 400", b""))
    assert ask(server, "GET", "/healthz").code == 200


def test_nothing_is_fetched(server: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.5)
        address = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/cat.jpg"
        for source in ({"imageUri": address}, {"gcsImageUri": address}):
            assert (
                annotate(server, {"image": {"source": source}, "features": LABELS}).json[
                    "responses"
                ][0]["error"]["code"]
                == 7
            )
        with pytest.raises(TimeoutError):
            elsewhere.accept()


# The plain API


def test_classify_answers_as_the_command_does(edgecat: Run, server: Running) -> None:
    done = edgecat("classify", "-", "--json", stdin=CHELSEA.read_bytes())
    assert ask(
        server, "POST", "/v1/classify", CHELSEA.read_bytes(), {"Content-Type": "image/jpeg"}
    ).json == json.loads(done.stdout)
    done = edgecat("classify", CHELSEA, "--json", "--top", 1)
    top = ask(server, "POST", "/v1/classify?top=1", CHELSEA.read_bytes())
    assert top.json == {**json.loads(done.stdout), "photo": "-"}
    assert re.fullmatch(
        r"receive;dur=[\d.]+, queue;dur=[\d.]+, decode;dur=[\d.]+, run;dur=[\d.]+",
        top.headers["server-timing"],
    )


def form(*parts: tuple[str, bytes]) -> tuple[bytes, dict[str, str]]:
    body = b"".join(
        f"--edge\r\nContent-Disposition: form-data; {said}\r\n\r\n".encode() + content + b"\r\n"
        for said, content in parts
    )
    return body + b"--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}


def test_a_photo_in_a_form(server: Running) -> None:
    answer = ask(
        server,
        "POST",
        "/v1/classify",
        *form(
            ('name="album"', b"pets"), ('name="photo"; filename="über.jpg"', CHELSEA.read_bytes())
        ),
    )
    assert (answer.json["photo"], answer.json["label"]) == ("über.jpg", "cat")
    answer = ask(server, "POST", "/v1/classify", *form(('name="photo"; filename="cut.jpg"', CUT)))
    assert answer.code == 400
    assert answer.json["error"]["message"].startswith("cut.jpg: broken photo (")


@pytest.mark.parametrize(
    ("body", "headers", "message"),
    [
        (b"", {}, "No photo: expected one as the body, or as a file in a form."),
        (
            *form(('name="photo"', b"text")),
            "No photo: expected one as the body, or as a file in a form.",
        ),
        (
            *form(*[('name="photo"; filename="a.jpg"', b"x")] * 2),
            "The form cannot be read: Too many files. Maximum number of files is 1.",
        ),
        (
            b"--edge\r\n",
            {"Content-Type": "multipart/form-data"},
            "The form cannot be read: Missing boundary in multipart.",
        ),
        (
            b"no form",
            {"Content-Type": "multipart/form-data; boundary=edge"},
            "The form cannot be read: .*",
        ),
        (b"no photo", {}, r"body: not a photo \(expected JPEG, PNG, WebP, BMP, GIF or TIFF\)"),
    ],
)
def test_what_is_no_photo(
    server: Running, body: bytes, headers: dict[str, str], message: str
) -> None:
    answer = ask(server, "POST", "/v1/classify", body, headers)
    assert (answer.code, answer.json["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert re.fullmatch(message, answer.json["error"]["message"])


@pytest.mark.parametrize("top", ["0", "-1", "all", "1.5", "9" * 30])
def test_a_wrong_top(server: Running, top: str) -> None:
    answer = ask(server, "POST", f"/v1/classify?top={top}", CHELSEA.read_bytes())
    assert error_of(answer) == (
        400,
        400,
        "INVALID_ARGUMENT",
        f"top '{top[:20]}', expected a whole number of at least 1.",
    )


def test_health_and_metrics(server: Running) -> None:
    health = ask(server, "GET", "/healthz").json
    assert (health["status"], health["model"]) == ("ok", "catdog-int8.tflite")

    def metric(name: str) -> float:
        found = re.search(
            rf"^{re.escape(name)} (\S+)$",
            ask(server, "GET", "/metrics").body.decode(),
            re.MULTILINE,
        )
        return float(found[1]) if found else 0.0

    names = (
        'edgecat_requests_total{code="200",route="annotate"}',
        'edgecat_photos_total{answer="cat"}',
        'edgecat_photos_total{answer="INVALID_ARGUMENT"}',
        *(
            f'edgecat_stage_seconds_count{{stage="{stage}"}}'
            for stage in ("receive", "read", "queue", "decode", "run")
        ),
    )
    before = [metric(name) for name in names]
    annotate(
        server,
        question(CHELSEA.read_bytes()),
        question(b"no photo"),
        question(CHELSEA.read_bytes()),
    )
    assert [metric(name) - was for name, was in zip(names, before, strict=True)] == [
        1,
        2,
        1,
        1,
        1,
        3,
        3,
        3,
    ]
    assert 'edgecat_model{engine="LiteRT' in ask(server, "GET", "/metrics").body.decode()


def test_the_card(server: Running) -> None:
    card = ask(server, "GET", "/v1/model").json
    assert (card["name"], card["labels"]) == ("catdog", ["cat", "dog", "neither"])


# ImageNet's labels


def test_imagenet_labels_and_their_groups() -> None:
    from edgecat import Classification, InputRecipe, ModelCard, Score
    from edgecat.classifier import Scores
    from edgecat.server.vision_protocol import annotation

    groups = {"tabby": "cat", "tiger cat": "cat", "beagle": "dog", "sofa": "neither"}
    card = ModelCard(
        "imagenet", "mobilenet_v2", tuple(groups), InputRecipe(224, 224), groups=groups
    )
    scores = Scores(
        (
            Score("tabby", 0.375),
            Score("tiger cat", 0.25),
            Score("sofa", 0.25),
            Score("beagle", 0.005),
        )
    )
    found = annotation(Classification("tabby", 0.375, "cat", scores, "LiteRT"), card)[
        "labelAnnotations"
    ]
    assert [(label["description"], label["score"]) for label in found] == [
        ("Cat", 0.625),
        ("Tabby", 0.375),
        ("Tiger cat", 0.25),
        ("Sofa", 0.25),
    ]
    assert found[0]["mid"] == "/m/01yrx"
    assert "mid" not in found[1]
    assert (
        len(
            annotation(Classification("tabby", 0.375, "cat", scores, "LiteRT"), card, 2)[
                "labelAnnotations"
            ]
        )
        == 2
    )


# Made to stay up


class Slow(Classifier):
    """Waits before every answer until it is told to go on, or half a second."""

    def __init__(self, seconds: float = 0.5) -> None:
        super().__init__(threads=1)
        self.seconds = seconds
        self.go_on = threading.Event()

    def run(self, tensor: Any) -> Any:
        self.go_on.wait(self.seconds)
        return super().run(tensor)


def test_more_than_may_wait() -> None:
    slow = Slow(60)
    with Running(make_app(Settings(threads=1, limits=Limits(waiting=3)), slow)) as busy:
        answers: list[Answer] = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(annotate(busy, question(CHELSEA.read_bytes())))
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        while len(answers) < 5 and time.monotonic() - began < 30:
            time.sleep(0.01)
        assert [answer.code for answer in answers] == [429] * 5
        slow.go_on.set()
        for thread in threads:
            thread.join()
        assert [answer.code for answer in answers[5:]] == [200] * 3
        refused = answers[0]
        assert int(refused.headers["retry-after"]) >= 1
        error = refused.json["error"]
        assert error["status"] == "RESOURCE_EXHAUSTED"
        assert error["details"] == [
            {
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": f"{refused.headers['retry-after']}s",
            }
        ]
        assert annotate(busy, question(CHELSEA.read_bytes())).code == 200  # there is room again


def test_too_late() -> None:
    with Running(make_app(Settings(threads=1, limits=Limits(answer=0.1)), Slow())) as late:
        answer = annotate(late, question(CHELSEA.read_bytes()))
        assert answer.json == {
            "responses": [
                {"error": {"code": 4, "message": "The photo could not be classified in time."}}
            ]
        }
        answer = ask(late, "POST", "/v1/classify", CHELSEA.read_bytes())
        assert error_of(answer) == (
            504,
            504,
            "DEADLINE_EXCEEDED",
            "The photo could not be classified in time.",
        )


def test_bodies_beyond_what_may_be_held() -> None:
    with Running(make_app(Settings(limits=Limits(held=100_000)))) as small:
        assert ask(small, "POST", "/v1/classify", b" " * 200_000).code == 429
        assert ask(small, "POST", "/v1/classify", CHELSEA.read_bytes()).code == 200


def test_an_error_that_nobody_foresaw(capfd: pytest.CaptureFixture[str]) -> None:
    class Broken(Classifier):
        def run(self, tensor: Any) -> Any:
            raise RuntimeError("broken")

    with Running(make_app(Settings(), Broken())) as broken:
        answer = annotate(broken, question(CHELSEA.read_bytes()))
        assert error_of(answer) == (500, 500, "INTERNAL", "Internal error encountered.")
        assert ask(broken, "GET", "/healthz").code == 200
    assert "RuntimeError: broken" in capfd.readouterr().err


def test_a_body_that_comes_too_slowly() -> None:
    with (
        Running(make_app(Settings(limits=Limits(silence=0.3)))) as impatient,
        socket.create_connection(("127.0.0.1", impatient.port)) as slow,
    ):
        slow.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 20:
                slow.sendall(b"x")
                time.sleep(0.05)
        assert slow.recv(5000).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began < 10


class Impatient(GuardedProtocol):
    head_seconds = 1.0
    max_connections = 50


def test_connections_that_send_nothing_or_never_end_their_headers() -> None:
    with (
        Running(make_app(Settings()), http=Impatient) as impatient,
        contextlib.ExitStack() as opened,
    ):
        silent = [
            opened.enter_context(socket.create_connection(("127.0.0.1", impatient.port)))
            for _ in range(10)
        ]
        silent[0].sendall(b"GET / HTT")
        began = time.monotonic()
        for connection in silent:
            connection.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        assert 0.8 < time.monotonic() - began < 8
        assert ask(impatient, "GET", "/healthz").code == 200


def test_more_connections_than_may_be() -> None:
    class Patient(Impatient):
        head_seconds = 60

    with Running(make_app(Settings()), http=Patient) as crowded, contextlib.ExitStack() as opened:
        crowd = [
            opened.enter_context(socket.create_connection(("127.0.0.1", crowded.port)))
            for _ in range(60)
        ]
        assert ask(crowded, "GET", "/healthz").code == 200
        for connection in crowd[:10]:  # those that waited longest made room
            connection.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        crowd[-1].settimeout(0.1)
        with pytest.raises(TimeoutError):
            crowd[-1].recv(1)


def test_slow_and_silent_clients_keep_nobody_else_waiting(tmp_path: Path) -> None:
    with Process(stderr=tmp_path / "log") as served, contextlib.ExitStack() as opened:
        crowd = [
            opened.enter_context(socket.create_connection(("127.0.0.1", served.port)))
            for _ in range(516)
        ]
        for connection in crowd[:16]:
            connection.sendall(
                b"POST /v1/images:annotate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
            )
        for _ in range(3):
            for connection in crowd[:16]:
                connection.sendall(b"x")
            began = time.monotonic()
            assert (
                "labelAnnotations"
                in annotate(served, question(CHELSEA.read_bytes())).json["responses"][0]
            )
            assert time.monotonic() - began < 10


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(),
    reason="this system does not tell another process's memory",
)
def test_memory_stays_flat(tmp_path: Path) -> None:
    """bench/ has this with 20,000 requests."""
    with (
        Process(stderr=tmp_path / "log") as served,
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", served.port)) as connection,
    ):

        def memory_mb_after(requests: int) -> float:
            for _ in range(requests):
                connection.request(
                    "POST", "/v1/classify", CHELSEA.read_bytes(), {"Content-Type": "image/jpeg"}
                )
                assert json.loads(connection.getresponse().read())["label"] == "cat"
            [resident] = re.findall(
                r"VmRSS:\s+(\d+) kB", Path(f"/proc/{served.process.pid}/status").read_text()
            )
            return int(resident) / 1000

        before = memory_mb_after(200)
        assert memory_mb_after(400) - before < 5


def test_a_client_that_goes_away(tmp_path: Path) -> None:
    with Process(stderr=tmp_path / "log") as served:
        with socket.create_connection(("127.0.0.1", served.port)) as leaving:
            leaving.sendall(
                b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf"
            )
        while not log_of(tmp_path / "log"):
            time.sleep(0.02)
        assert ask(served, "GET", "/healthz").json["waiting"] == 0
    assert [line["code"] for line in log_of(tmp_path / "log")] == [499, 200]


def test_sigterm_answers_what_was_accepted(tmp_path: Path) -> None:
    with Process(stderr=tmp_path / "log") as served:
        assert re.fullmatch(
            r"catdog-int8\.tflite \(LiteRT \S+\) answers at http://127\.0\.0\.1:\d+\n", served.said
        )
        file = io.BytesIO()
        Image.open(CHELSEA).resize((1600, 1200)).save(file, "JPEG", quality=85)
        asked = [question(file.getvalue())] * 16
        answers: list[Answer] = []

        def keep_answer() -> None:
            with contextlib.suppress(ConnectionError):  # of what came too late
                answers.append(annotate(served, *asked))

        threads = [threading.Thread(target=keep_answer) for _ in range(8)]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        while ask(served, "GET", "/healthz").json["waiting"] < 32:
            assert time.monotonic() - began < 30
        served.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(30)
        assert (
            sum(answer.code == 200 and len(answer.json["responses"]) == 16 for answer in answers)
            >= 2
        )  # of 16 photos each, those that were accepted
        assert {answer.code for answer in answers} == {200}
        assert served.process.wait(20) == 0
        with pytest.raises(ConnectionRefusedError):
            ask(served, "GET", "/healthz")
    assert not [line for line in log_of(tmp_path / "log") if "level" in line]


def test_several_processes(tmp_path: Path) -> None:
    with Process("--workers", "2", stderr=tmp_path / "log") as served:
        for _ in range(20):
            assert ask(served, "POST", "/v1/classify", CHELSEA.read_bytes()).json["label"] == "cat"
        metrics = ask(served, "GET", "/metrics").body.decode()
        assert 'edgecat_photos_total{answer="cat"} 20.0' in metrics  # of whichever process is asked
        assert re.search(
            r'edgecat_model\{engine="LiteRT \S+",model="catdog-int8\.tflite",version="\S+"\} 1\.0',
            metrics,
        )
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(30) == 0


def test_interrupted(tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import edgecat.cli; edgecat.cli.main()"
    command = [sys.executable, "-c", code, "serve", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout
        running.stdout.readline()
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        stderr = running.communicate(timeout=20)[1]
    assert running.returncode == 130
    assert "Traceback" not in stderr


# Keys


@pytest.fixture(scope="module")
def guarded() -> Iterator[Running]:
    with Running(make_app(Settings(key=KEY))) as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/images:annotate"),
        ("POST", "/v1/classify"),
        ("GET", "/v1/model"),
        ("GET", "/metrics"),
    ],
)
def test_a_key_is_needed(guarded: Running, method: str, path: str) -> None:
    body = b"{}" if method == "POST" else None
    none = ask(guarded, method, path, body, JSON)
    assert error_of(none)[:3] == (403, 403, "PERMISSION_DENIED")
    assert none.json["error"]["message"].startswith("Method doesn't allow unregistered callers")
    for wrong in (
        ask(guarded, method, path, body, {**JSON, "X-Goog-Api-Key": KEY + "x"}),
        ask(guarded, method, f"{path}?key=%FC", body, JSON),
    ):
        assert error_of(wrong) == (
            400,
            400,
            "INVALID_ARGUMENT",
            "API key not valid. Please pass a valid API key.",
        )
        assert wrong.json["error"]["details"][0]["reason"] == "API_KEY_INVALID"
    for right in (
        ask(guarded, method, path, body, {**JSON, "X-Goog-Api-Key": KEY}),
        ask(guarded, method, f"{path}?key={KEY}", body, JSON),
    ):
        assert right.code == (200 if method == "GET" else 415 if path == "/v1/classify" else 400)
        assert KEY.encode() not in right.body


def test_what_needs_no_key(guarded: Running) -> None:
    assert [ask(guarded, "GET", path).code for path in ("/", "/healthz", "/openapi.json")] == [
        200
    ] * 3


def test_the_key_is_never_logged(tmp_path: Path) -> None:
    wrong = "another-key-0123456789"
    with Process("--host", "0.0.0.0", stderr=tmp_path / "log", EDGECAT_API_KEY=KEY) as served:
        assert (
            ask(served, "POST", f"/v1/classify?key={KEY}", CHELSEA.read_bytes()).json["label"]
            == "cat"
        )
        assert ask(served, "POST", f"/v1/classify?key={wrong}", CHELSEA.read_bytes()).code == 400
        assert ask(served, "GET", "/nowhere", headers={"X-Goog-Api-Key": KEY}).code == 404
        assert KEY not in ask(served, "GET", f"/metrics?key={KEY}").body.decode()
    log = (tmp_path / "log").read_text()
    assert KEY not in log
    assert wrong not in log
    lines = log_of(tmp_path / "log")
    assert [(line["method"], line["path"], line["code"], line["photos"]) for line in lines] == [
        ("POST", "/v1/classify", 200, 1),
        ("POST", "/v1/classify", 400, 0),
        ("GET", "/nowhere", 404, 0),
        ("GET", "/metrics", 200, 0),
    ]
    assert set(lines[0]) == {
        "time",
        "client",
        "method",
        "path",
        "code",
        "photos",
        "bytes",
        "ms",
        "receive_ms",
        "queue_ms",
        "decode_ms",
        "run_ms",
    }
    assert lines[0]["bytes"] == CHELSEA.stat().st_size


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_others_are_let_in_with_a_key_alone(edgecat: Run, host: str) -> None:
    done = edgecat("serve", "--host", host, EDGECAT_API_KEY="")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == f"edgecat: --host {host} lets others in; set EDGECAT_API_KEY to a key that they must show, or say --no-auth\n"
    )


def test_no_auth(tmp_path: Path) -> None:
    with Process(
        "--host", "0.0.0.0", "--no-auth", stderr=tmp_path / "log", EDGECAT_API_KEY=KEY
    ) as served:
        assert ask(served, "POST", "/v1/classify", CHELSEA.read_bytes()).code == 200


# What keeps it from starting


def test_a_port_in_use(edgecat: Run, server: Running) -> None:
    done = edgecat("serve", "--port", server.port)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(
        f"edgecat: port {server.port} of 127.0.0.1 is in use; stop what uses it, or give another --port\n"
    )


def test_addresses_that_are_none_of_this_machine(edgecat: Run) -> None:
    done = edgecat("serve", "--host", "no.such.host.invalid", "--no-auth")
    assert done.returncode == 1
    assert done.stderr.endswith(
        "edgecat: --host no.such.host.invalid: no address of this machine; expected such as 127.0.0.1, or 0.0.0.0 for all\n"
    )
    done = edgecat("serve", "--host", "192.0.2.1", "--no-auth")
    assert done.stderr.endswith(
        "edgecat: cannot listen on port 8080 of 192.0.2.1 (Cannot assign requested address); give another --host or --port\n"
    )


def test_a_model_that_is_missing(edgecat: Run) -> None:
    done = edgecat("serve", "--model", "none.tflite")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "edgecat: none.tflite: no such model file\n",
    )


def test_a_key_that_is_none(edgecat: Run) -> None:
    done = edgecat("serve", EDGECAT_API_KEY="two words")
    assert (done.returncode, done.stderr) == (
        1,
        "edgecat: EDGECAT_API_KEY holds more than letters, digits and signs; set it to the key alone\n",
    )


@pytest.mark.parametrize(
    "library", ["starlette", "uvicorn", "httptools", "prometheus_client", "python_multipart"]
)
def test_without_the_extra(edgecat: Run, tmp_path: Path, library: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{library!r}] = None\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = edgecat("serve", PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"edgecat: serving needs '\S+'; install it with: pip install 'edgecat\[serve\]'\n",
        done.stderr,
    )
