"""Each stage of a photo's way against what the library alone takes for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from floor import CHELSEA, bare_decode, bare_resize, open_bare_engine
from pytest_benchmark.fixture import BenchmarkFixture

from edgecat.classifier import Classifier
from edgecat.photo import decode, read_pixels

Paired = Callable[..., Any]


@pytest.mark.parametrize("photo", ["large", "small"])
def test_decode(
    pair: Paired, record: Paired, classifier: Classifier, large_photo: Path, photo: str
) -> None:
    path, least = {"large": large_photo, "small": CHELSEA}[photo], classifier.card.input.least
    assert np.array_equal(
        np.asarray(decode(path, at_least=least)), np.asarray(bare_decode(path, least))
    )
    found = pair(lambda: decode(path, at_least=least), lambda: bare_decode(path, least))
    if found:
        record(f"decode, {photo} photo / Pillow", found.ratio())


def test_resize(pair: Paired, record: Paired, classifier: Classifier) -> None:
    recipe = classifier.card.input
    image = decode(CHELSEA)
    assert np.array_equal(read_pixels(image, recipe), bare_resize(image, recipe.scaled))
    found = pair(lambda: read_pixels(image, recipe), lambda: bare_resize(image, recipe.scaled))
    if found:
        record("resize / Pillow", found.ratio())


def test_table(pair: Paired, record: Paired, exported: Path) -> None:
    with Classifier(exported / "mobilenet-fp32.tflite", threads=1) as floats:
        pixels, recipe = floats.pixels(CHELSEA), floats.card.input

        def normalise() -> np.ndarray:
            return recipe.normalise(pixels)

        assert np.array_equal(floats.tensor(pixels), normalise())
        found = pair(lambda: floats.tensor(pixels), normalise)
    if found:
        record("input table, fp32 / arithmetic", found.ratio())


def test_invoke(pair: Paired, record: Paired, classifier: Classifier) -> None:
    tensor = classifier.tensor(classifier.pixels(CHELSEA))
    run, _ = open_bare_engine()
    assert np.array_equal(classifier.run(tensor) * 256, run(tensor[np.newaxis]))
    found = pair(lambda: classifier.run(tensor), lambda: run(tensor[np.newaxis]))
    if found:
        record("invoke / bare LiteRT", found.ratio())


def test_answer(benchmark: BenchmarkFixture, classifier: Classifier) -> None:
    scores = classifier.run(classifier.tensor(classifier.pixels(CHELSEA)))
    assert benchmark(classifier.interpret, scores).label == "cat"
