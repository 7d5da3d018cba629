"""`edgecat serve` and Google's own client."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real import CHELSEA, COFFEE, ROOT

if importlib.util.find_spec("uvicorn") is None:
    pytest.skip("needs edgecat[serve]", allow_module_level=True)

from asking_server import CUT
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
        == "We're not allowed to access the URL on your behalf. Please download the content "
        "and pass it in."
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
    readme = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    [example] = [
        found
        for found in re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
        if "ImageAnnotatorRestTransport" in found
    ]
    assert "127.0.0.1:8080" in example
    exec(
        compile(example.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}"), "serve.md", "exec"),
        {},
    )
    assert capsys.readouterr().out == "Cat 0.99609375\n"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_of_the_readme(server: Running, tmp_path: Path) -> None:
    [commands] = [
        found
        for found in re.findall(
            r"```sh\n(.*?)```", (ROOT / "docs" / "serve.md").read_text(encoding="utf-8"), re.DOTALL
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
