"""`edgecat serve`: limits of photos, time, memory and connections."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from real import CHELSEA

if importlib.util.find_spec("uvicorn") is None:
    pytest.skip("needs edgecat[serve]", allow_module_level=True)

from asking_server import Answer, annotate, ask, error_of, question
from vision_server import Running

from edgecat import Classifier
from edgecat.server.app import make_app
from edgecat.server.connections import LimitedProtocol
from edgecat.server.settings import Limits, Settings


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with Running(make_app(Settings(threads=2))) as running:
        yield running


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


class Impatient(LimitedProtocol):
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


def test_idle_connections_that_asked_before_make_way() -> None:
    class Patient(Impatient):
        head_seconds = 60

    with Running(make_app(Settings()), http=Patient) as crowded, contextlib.ExitStack() as opened:
        crowd = [
            opened.enter_context(socket.create_connection(("127.0.0.1", crowded.port)))
            for _ in range(50)
        ]
        for connection in crowd:
            connection.settimeout(10)
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(2000).startswith(b"HTTP/1.1 200 ")
        for _ in range(5):
            assert ask(crowded, "GET", "/healthz").code == 200


@pytest.mark.parametrize("size", [66_000, 100_000, 250_000])
def test_a_request_behind_a_body(server: Running, size: int) -> None:
    photo = CHELSEA.read_bytes()
    body = photo + b"\0" * (size - len(photo))
    head = f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
    answers = b""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(10)
        connection.sendall(head + body + b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        time.sleep(0.3)
        connection.sendall(b"\r\n")
        while answers.count(b"HTTP/1.1 200 ") < 2:
            piece = connection.recv(65536)
            assert piece, answers
            answers += piece


def test_photos_one_behind_another(server: Running) -> None:
    photo = CHELSEA.read_bytes()
    head = f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: {len(photo)}\r\n\r\n"
    answers = b""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(10)
        connection.sendall((head.encode() + photo) * 20)
        while answers.count(b"HTTP/1.1 200 ") < 20:
            piece = connection.recv(65536)
            assert piece, answers
            answers += piece


@pytest.mark.parametrize("before", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_head_without_end(server: Running, before: bytes) -> None:
    def send_for_ever(connection: socket.socket) -> None:
        began = time.monotonic()
        while time.monotonic() - began < 20:
            connection.sendall(b"a: b\r\n" * 1000)

    with socket.create_connection(("127.0.0.1", server.port)) as endless:
        endless.settimeout(10)
        if before:
            endless.sendall(before)
            assert endless.recv(2000).startswith(b"HTTP/1.1 200 ")
        endless.sendall(b"GET / HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            send_for_ever(endless)


def test_a_large_body_without_length(server: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with contextlib.closing(connection):
        connection.request(
            "POST",
            "/v1/classify",
            iter([b"x" * 100_000] * 30),
            encode_chunked=True,
            headers={"Transfer-Encoding": "chunked"},
        )
        assert connection.getresponse().status == 411
