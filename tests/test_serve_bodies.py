"""`edgecat serve`: bombs, bodies, types and methods that are refused."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import io
import socket
import zlib
from collections.abc import Iterator

import pytest
from PIL import Image
from real import CHELSEA

if importlib.util.find_spec("uvicorn") is None:
    pytest.skip("needs edgecat[serve]", allow_module_level=True)

from asking_server import JSON, LABELS, Answer, annotate, ask, error_of, question
from vision_server import Running

from edgecat.server.app import make_app
from edgecat.server.settings import Settings
from edgecat.server.vision_protocol import MAX_BODY, MAX_PHOTO


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with Running(make_app(Settings(threads=2))) as running:
        yield running


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
