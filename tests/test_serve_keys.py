"""`edgecat serve`: keys, and what keeps it from starting."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from real import CHELSEA, Run

if importlib.util.find_spec("uvicorn") is None:
    pytest.skip("needs edgecat[serve]", allow_module_level=True)

from asking_server import JSON, ask, error_of, log_of
from vision_server import KEY, Process, Running

from edgecat.server.app import make_app
from edgecat.server.settings import Settings


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with Running(make_app(Settings(threads=2))) as running:
        yield running


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
        == f"edgecat: --host {host} lets others in; set EDGECAT_API_KEY to a key that they "
        "must show, or say --no-auth\n"
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
        f"edgecat: port {server.port} of 127.0.0.1 is in use; stop what uses it, or give "
        "another --port\n"
    )


def test_addresses_that_are_none_of_this_machine(edgecat: Run) -> None:
    done = edgecat("serve", "--host", "no.such.host.invalid", "--no-auth")
    assert done.returncode == 1
    assert done.stderr.endswith(
        "edgecat: --host no.such.host.invalid: no address of this machine; expected such "
        "as 127.0.0.1, or 0.0.0.0 for all\n"
    )
    done = edgecat("serve", "--host", "192.0.2.1", "--no-auth")
    assert done.stderr.endswith(
        "edgecat: cannot listen on port 8080 of 192.0.2.1 (Cannot assign requested "
        "address); give another --host or --port\n"
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
        "edgecat: EDGECAT_API_KEY holds more than letters, digits and signs; set it to "
        "the key alone\n",
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


def test_the_description_knows_what_the_server_does(server: Running, guarded: Running) -> None:
    from edgecat.cloud.request import MAX_PHOTOS
    from edgecat.server.vision_protocol import STATUS
    from edgecat.server.vision_request import FEATURES

    document = ask(server, "GET", "/openapi.json").json
    schemas = document["components"]["schemas"]
    kinds = schemas["Feature"]["properties"]["type"]["enum"]
    assert {*FEATURES, *FEATURES.values()} < {*kinds}
    requests = schemas["BatchAnnotateImagesRequest"]["properties"]["requests"]
    assert requests["maxItems"] == MAX_PHOTOS
    status = schemas["Error"]["properties"]["error"]["properties"]["status"]
    assert {*status["enum"]} == {*STATUS.values()}
    assert document["info"]["version"] == importlib.metadata.version("edgecat")
    for asked, keyed in ((server, False), (guarded, True)):
        model = ask(asked, "GET", "/openapi.json").json["paths"]["/v1/model"]["get"]
        assert ("security" in model, "403" in model["responses"]) == (keyed, keyed)
