"""Other people's runtimes open what edgecat exports as it is, and answer as edgecat does."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from edgecat_export.training.augmentation import augment
from PIL import ExifTags, Image
from real import CHELSEA, COFFEE, ROOT, Run

from edgecat import Classifier, InputRecipe
from edgecat.models import DEFAULT_MODEL
from edgecat.photo import Pixels, find_photos, read_pixels

if TYPE_CHECKING:
    from playwright.sync_api import Page

needs_mediapipe = pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None, reason="needs edgecat[interop]"
)
needs_export = pytest.mark.skipif(
    importlib.util.find_spec("tf2onnx") is None, reason="needs edgecat[export]"
)
COUNT = 200


def variants(recipe: InputRecipe) -> Iterator[Pixels]:
    """As many different pictures as are needed, from the two photos in the repository."""
    for number in range(COUNT):
        yield augment((CHELSEA, COFFEE)[number % 2], recipe, np.random.default_rng(number))


def answers_of_mediapipe(model: Path, pictures: list[Pixels]) -> list[str]:
    """Run MediaPipe in another process, since it keeps threads and prints from C++."""
    program = """
import sys, numpy, mediapipe
from mediapipe.tasks.python import vision, BaseOptions
base = BaseOptions(model_asset_path=sys.argv[1])
options = vision.ImageClassifierOptions(base_options=base, max_results=1)
classifier = vision.ImageClassifier.create_from_options(options)
for pixels in numpy.load(sys.argv[2]):
    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
    print(classifier.classify(image).classifications[0].categories[0].category_name)
"""
    file = model.with_suffix(".pictures.npy")
    np.save(file, np.stack(pictures))
    done = subprocess.run(
        [sys.executable, "-c", program, str(model), str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def agreement(model: Path, pictures: list[Pixels]) -> float:
    with Classifier(model) as classifier:
        own = [classifier.classify(pixels).label for pixels in pictures]
    assert len(set(own)) >= 2  # else agreement would say little
    return float(np.mean(np.array(own) == np.array(answers_of_mediapipe(model, pictures))))


@needs_mediapipe
@needs_export
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_mediapipe_opens_exported_files_and_answers_alike(exported: Path, precision: str) -> None:
    model = exported / f"mobilenet-{precision}.tflite"
    with Classifier(model) as classifier:
        pictures = list(variants(classifier.card.input))
    assert agreement(model, pictures) >= 0.99


@needs_mediapipe
def test_mediapipe_answers_alike_on_real_photos(shared_data: Path, tmp_path: Path) -> None:
    model = tmp_path / "catdog.tflite"
    model.write_bytes(DEFAULT_MODEL.read_bytes())
    folders = (
        "training_set/cats",
        "training_set/dogs",
        "neither/training",
        "photos/cats",
        "photos/dogs",
    )
    photos = [
        photo
        for folder in folders
        for photo in find_photos(shared_data / folder)[: COUNT // len(folders)]
    ]
    assert len(photos) >= COUNT
    with Classifier(model) as classifier:
        pictures = [read_pixels(photo, classifier.card.input) for photo in photos]
    assert agreement(model, pictures) >= 0.99


@needs_export
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_few_lines_of_onnx_runtime_run_an_exported_file(exported: Path, precision: str) -> None:
    example = ROOT / "examples" / "plain_onnx.py"
    source = example.read_text()
    assert "import edgecat" not in source
    assert (
        len([line for line in source.splitlines() if line.strip()]) <= 18
    )  # the docstring and 15 lines of code
    for photo, label in ((CHELSEA, "cat"), (COFFEE, "neither")):
        command = [
            sys.executable,
            str(example),
            str(exported / f"mobilenet-{precision}.onnx"),
            str(photo),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        with Classifier(exported / f"mobilenet-{precision}.onnx") as classifier:
            own = classifier.classify(photo)
        assert done.stdout.split()[0] == label == own.label
        assert float(done.stdout.split()[1]) == pytest.approx(
            own.score, abs=0.05
        )  # it resizes without edgecat's short cut


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    """A page of Debian's Chromium; nothing of it leaves this machine."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs edgecat[examples]")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium")
    flags = (
        "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync"
    )
    with playwright.sync_playwright() as api, tempfile.TemporaryDirectory() as profile:
        context = api.chromium.launch_persistent_context(
            profile, executable_path=chromium, headless=True, args=flags.split()
        )
        yield context.new_page()
        context.close()


@pytest.fixture(scope="module")
def page_address(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where examples/web is served, with exported models beside it."""
    web = ROOT / "examples" / "web"
    if not (web / "node_modules" / "onnxruntime-web").is_dir():
        pytest.skip("needs onnxruntime-web: npm install --no-package-lock --prefix examples/web")
    folder = tmp_path_factory.mktemp("web")
    for path in [*web.iterdir(), *exported.glob("*.onnx")]:
        (folder / path.name).symlink_to(path)

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def shown_photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Photos for a web page: small and large, one on its side, one with transparent parts."""
    folder = tmp_path_factory.mktemp("photos")
    with Image.open(CHELSEA) as photo:
        exif = photo.getexif()
        exif[ExifTags.Base.Orientation] = 6
        photo.rotate(90, expand=True).save(folder / "on its side.jpg", exif=exif, quality=95)
        photo.resize((3600, 2400)).save(folder / "large.jpg", quality=95)
        cut_out = photo.convert("RGBA")
        cut_out.putalpha(
            Image.radial_gradient("L").resize(photo.size).point(lambda value: 255 * (value < 180))
        )
        cut_out.save(folder / "cut out.png")
    return [CHELSEA, COFFEE, *sorted(folder.iterdir())]


@needs_export
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 0.003), ("fp16", 0.003), ("int8", 0.03)]
)
def test_a_page_with_onnx_runtime_web_answers_as_the_command_line(
    edgecat: Run,
    browser: Page,
    page_address: str,
    exported: Path,
    shown_photos: list[Path],
    precision: str,
    tolerance: float,
) -> None:
    model = exported / f"mobilenet-{precision}.onnx"
    browser.goto(f"{page_address}/index.html?model={model.name}")
    browser.wait_for_selector("input:enabled")
    lines = edgecat("classify", "--model", model, "--json", *shown_photos).stdout.splitlines()
    for photo, line in zip(shown_photos, lines, strict=True):
        browser.evaluate("document.querySelector('output').textContent = ''")
        browser.set_input_files("input", photo)
        browser.wait_for_function("document.querySelector('output').textContent")
        shown = browser.text_content("output") or ""
        scores = {
            label: float(percent.rstrip("%")) / 100
            for label, percent in map(str.split, shown.split("  "))
        }
        expected = json.loads(line)
        assert next(iter(scores)) == expected["label"], f"{photo.name}: {shown}, expected {line}"
        assert scores == pytest.approx(expected["scores"], abs=tolerance), photo.name


@needs_export
def test_a_page_says_what_it_cannot_do(browser: Page, page_address: str, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no photo")
    browser.goto(f"{page_address}/index.html?model=mobilenet-int8.onnx")
    browser.wait_for_selector("input:enabled")
    browser.set_input_files("input", tmp_path / "broken.jpg")
    browser.wait_for_function(
        "document.querySelector('output').textContent.startsWith('Not classified: ')"
    )
    browser.goto(f"{page_address}/index.html?model=none.onnx")
    browser.wait_for_function(
        "document.querySelector('output').textContent.startsWith('No model: ')"
    )
