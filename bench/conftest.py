"""What the benchmarks share: a 12-megapixel photo, and the bare loop that classify is measured against."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecat.classifier import DEFAULT_MODEL, Classifier

CHELSEA = Path(__file__).parent.parent / "tests" / "photos" / "chelsea.jpg"


@pytest.fixture(scope="session")
def large_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4000 x 3000 pixels with a sensor's noise, so that the JPEG holds as much detail as a camera's."""
    path = tmp_path_factory.mktemp("photos") / "large.jpg"
    with Image.open(CHELSEA) as cat:
        pixels = np.asarray(cat.resize((4000, 3000), Image.Resampling.BICUBIC)).astype(np.int16)
    noise = np.random.default_rng(0).normal(0, 3, pixels.shape)
    Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)).save(path, quality=90)
    return path


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    return Classifier(threads=1)


@pytest.fixture(scope="session")
def bare_loop() -> Callable[[Path], np.ndarray]:
    """The least that gives the same scores: Pillow's draft decode, a resize, LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(DEFAULT_MODEL), num_threads=1)
    interpreter.allocate_tensors()
    read, said = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    size = (int(read["shape"][2]), int(read["shape"][1]))

    def classify(path: Path) -> np.ndarray:
        image = Image.open(path)
        image.draft("RGB", size)
        pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))
        interpreter.set_tensor(read["index"], pixels[np.newaxis])
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(said["index"])[0])

    return classify


def interleaved(one: Callable[[], object], other: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median milliseconds of both, measured by turns, so that what disturbs one disturbs the other."""
    times: tuple[list[float], list[float]] = ([], [])
    for round_ in range(rounds + 3):
        for which, work in enumerate((one, other)):
            began = time.perf_counter()
            work()
            if round_ >= 3:  # warm
                times[which].append(1e3 * (time.perf_counter() - began))
    return float(np.median(times[0])), float(np.median(times[1]))
