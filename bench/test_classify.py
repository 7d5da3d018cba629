"""How close classify is to the floor: bare decode, bare engine. Run with: pytest bench"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from floor import CHELSEA, Loop, open_bare_loop
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

from edgecat.classifier import Classifier


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
def bare_loop() -> Loop:
    return open_bare_loop()


def interleaved(one: Callable[[], object], other: Callable[[], object], rounds: int, of: Callable[[list[float]], Any] = np.median) -> tuple[float, float]:
    """Milliseconds of both (their median), measured by turns, so that what disturbs one disturbs the other."""
    times: tuple[list[float], list[float]] = ([], [])
    for round_ in range(rounds + 3):
        for which, work in enumerate((one, other)):
            began = time.perf_counter()
            work()
            if round_ >= 3:  # warm
                times[which].append(1e3 * (time.perf_counter() - began))
    return float(of(times[0])), float(of(times[1]))


@pytest.mark.benchmark(group="12-megapixel JPEG")
def test_classify(benchmark: BenchmarkFixture, classifier: Classifier, large_photo: Path) -> None:
    assert benchmark(classifier.classify, large_photo).label == "cat"


@pytest.mark.benchmark(group="12-megapixel JPEG")
def test_bare_loop(benchmark: BenchmarkFixture, classifier: Classifier, bare_loop: Loop, large_photo: Path) -> None:
    assert classifier.card.labels[benchmark(bare_loop, large_photo).argmax()] == "cat"


def test_a_large_photo_takes_at_most_1_10_of_the_bare_loop(benchmark: BenchmarkFixture, classifier: Classifier, bare_loop: Loop, large_photo: Path) -> None:
    ours, bare = benchmark.pedantic(  # type: ignore[no-untyped-call]
        interleaved, (lambda: classifier.classify(large_photo), lambda: bare_loop(large_photo), 100), rounds=1
    )
    benchmark.extra_info |= {"classify_ms": ours, "bare_loop_ms": bare, "ratio": ours / bare}
    print(f"\nclassify {ours:.2f} ms, bare loop {bare:.2f} ms, ratio {ours / bare:.3f}")
    assert ours / bare <= 1.10


def test_a_ready_array_takes_at_most_a_tenth_of_a_millisecond_more_than_the_engine(
    benchmark: BenchmarkFixture, classifier: Classifier, large_photo: Path
) -> None:
    pixels = classifier.pixels(large_photo)
    tensor = classifier.tensor(pixels)[np.newaxis]
    engine = classifier._idle[0]
    ours, bare = benchmark.pedantic(  # type: ignore[no-untyped-call]
        interleaved, (lambda: classifier.classify(pixels), lambda: engine.run(tensor), 500, min), rounds=1
    )  # the least: an engine's own times differ by more than is asked
    benchmark.extra_info |= {"classify_ms": ours, "engine_ms": bare}
    print(f"\nclassify {ours:.3f} ms, engine {bare:.3f} ms, {ours - bare:.3f} ms more")
    assert ours - bare <= 0.1
