"""`edgecat serve`: the plain API, health, metrics, ImageNet's labels."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator

import pytest
from real import CHELSEA, Run

if importlib.util.find_spec("uvicorn") is None:
    pytest.skip("needs edgecat[serve]", allow_module_level=True)

from asking_server import CUT, annotate, ask, error_of, question
from vision_server import Running

from edgecat.server.app import make_app
from edgecat.server.settings import Settings


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with Running(make_app(Settings(threads=2))) as running:
        yield running


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
        Score(*each)
        for each in (("tabby", 0.375), ("tiger cat", 0.25), ("sofa", 0.25), ("beagle", 0.005))
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
