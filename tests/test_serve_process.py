"""`edgecat serve` as a process: slow clients, memory, signals, workers."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image
from real import CHELSEA

if importlib.util.find_spec("uvicorn") is None:
    pytest.skip("needs edgecat[serve]", allow_module_level=True)

from asking_server import Answer, annotate, ask, log_of, question
from vision_server import Process


def test_slow_and_silent_clients_keep_nobody_else_waiting(tmp_path: Path) -> None:
    with Process(stderr=tmp_path / "log") as served, contextlib.ExitStack() as opened:
        crowd = [
            opened.enter_context(socket.create_connection(("127.0.0.1", served.port)))
            for _ in range(516)
        ]
        for connection in crowd[:16]:
            connection.sendall(
                b"POST /v1/images:annotate HTTP/1.1\r\nHost: x\r\nContent-Type: "
                b"application/json\r\nContent-Length: 1000000\r\n\r\n"
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
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import "
        "edgecat.cli; edgecat.cli.main()"
    )
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
