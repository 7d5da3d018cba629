"""How close classify is to the floor: bare decode, bare engine. Run with: pytest bench"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import interleaved
from pytest_benchmark.fixture import BenchmarkFixture

from edgecat.classifier import Classifier

Loop = Callable[[Path], np.ndarray]


@pytest.mark.benchmark(group="12-megapixel JPEG")
def test_classify(benchmark: BenchmarkFixture, classifier: Classifier, large_photo: Path) -> None:
    assert benchmark(classifier.classify, large_photo).label == "cat"


@pytest.mark.benchmark(group="12-megapixel JPEG")
def test_bare_loop(benchmark: BenchmarkFixture, classifier: Classifier, bare_loop: Loop, large_photo: Path) -> None:
    assert classifier.card.labels[benchmark(bare_loop, large_photo).argmax()] == "cat"


def test_a_large_photo_takes_at_most_1_10_of_the_bare_loop(benchmark: BenchmarkFixture, classifier: Classifier, bare_loop: Loop, large_photo: Path) -> None:
    ours, bare = benchmark.pedantic(interleaved, (lambda: classifier.classify(large_photo), lambda: bare_loop(large_photo), 100), rounds=1)
    benchmark.extra_info |= {"classify_ms": ours, "bare_loop_ms": bare, "ratio": ours / bare}
    print(f"\nclassify {ours:.2f} ms, bare loop {bare:.2f} ms, ratio {ours / bare:.3f}")
    assert ours / bare <= 1.10


def test_a_ready_array_takes_at_most_a_tenth_of_a_millisecond_more_than_the_engine(benchmark: BenchmarkFixture, classifier: Classifier, large_photo: Path) -> None:
    pixels = classifier.pixels(large_photo)
    tensor = classifier.tensor(pixels)
    engine = classifier._idle[0]
    ours, bare = benchmark.pedantic(interleaved, (lambda: classifier.classify(pixels), lambda: engine.run(tensor), 500), rounds=1)
    benchmark.extra_info |= {"classify_ms": ours, "engine_ms": bare}
    print(f"\nclassify {ours:.3f} ms, engine {bare:.3f} ms, {ours - bare:.3f} ms more")
    assert ours - bare <= 0.1
