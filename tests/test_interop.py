"""Other people's runtimes open what edgecat exports as it is, and answer as edgecat does."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from edgecat_export.dataset import augment
from real import CHELSEA, COFFEE, ROOT

from edgecat import Classifier, InputRecipe
from edgecat.classifier import DEFAULT_MODEL
from edgecat.photo import Pixels, find_photos, read_pixels

needs_mediapipe = pytest.mark.skipif(importlib.util.find_spec("mediapipe") is None, reason="needs edgecat[interop]")
needs_export = pytest.mark.skipif(importlib.util.find_spec("tf2onnx") is None, reason="needs edgecat[export]")
COUNT = 200


def variants(recipe: InputRecipe) -> Iterator[Pixels]:
    """As many different pictures as are needed, from the two photos that come along."""
    for number in range(COUNT):
        yield augment((CHELSEA, COFFEE)[number % 2], recipe, np.random.default_rng(number))


def answers_of_mediapipe(model: Path, pictures: list[Pixels]) -> list[str]:
    """In a process of its own: MediaPipe keeps threads and prints from C++. The pictures travel as a file."""
    program = """
import sys, numpy, mediapipe
from mediapipe.tasks.python import vision, BaseOptions
classifier = vision.ImageClassifier.create_from_options(vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=sys.argv[1]), max_results=1))
for pixels in numpy.load(sys.argv[2]):
    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
    print(classifier.classify(image).classifications[0].categories[0].category_name)
"""
    file = model.with_suffix(".pictures.npy")
    np.save(file, np.stack(pictures))
    done = subprocess.run([sys.executable, "-c", program, str(model), str(file)], capture_output=True, text=True, check=False)
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
    folders = ("training_set/cats", "training_set/dogs", "neither/training", "photos/cats", "photos/dogs")
    photos = [photo for folder in folders for photo in find_photos(shared_data / folder)[: COUNT // len(folders)]]
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
    assert len([line for line in source.splitlines() if line.strip()]) <= 17  # the docstring and 15 lines of code
    for photo, label in ((CHELSEA, "cat"), (COFFEE, "neither")):
        command = [sys.executable, str(example), str(exported / f"mobilenet-{precision}.onnx"), str(photo)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        with Classifier(exported / f"mobilenet-{precision}.onnx") as classifier:
            own = classifier.classify(photo)
        assert done.stdout.split()[0] == label == own.label
        assert float(done.stdout.split()[1]) == pytest.approx(own.score, abs=0.05)  # it resizes without edgecat's short cut
