"""Many photos: with all cores against one worker, and without growing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from floor import CHELSEA, TEST_SET
from pytest_benchmark.fixture import BenchmarkFixture

from edgecat import board
from edgecat.classifier import Classifier
from edgecat.engines import cores
from edgecat.photo import find_photos

PHOTOS, ROUNDS = 400, 5
Recorded = Callable[..., None]


def folder_of(count: int) -> list[Any]:
    """Real photos, where they are, else the same one over and over."""
    return find_photos(TEST_SET, recursive=True)[:: 2000 // count] if TEST_SET.is_dir() else [CHELSEA] * count


@pytest.mark.skipif(cores() < 2, reason="needs two cores")
def test_two_workers_against_one(benchmark: BenchmarkFixture, record: Recorded) -> None:
    photos = folder_of(20 if benchmark.disabled else PHOTOS)
    with Classifier(threads=1) as classifier:

        def seconds(workers: int) -> float:
            began = time.perf_counter()
            assert sum(1 for _ in classifier.classify_many(photos, workers=workers)) == len(photos)
            return time.perf_counter() - began

        rounds = [(seconds(1), seconds(2)) for _ in range(1 if benchmark.disabled else ROUNDS)]  # by turns
        benchmark.pedantic(seconds, (2,), rounds=1)  # type: ignore[no-untyped-call]
    if not benchmark.disabled:
        record("two workers / one, photos a second", min(one for one, _ in rounds) / min(two for _, two in rounds), 1.8, at_least=True)


def test_memory_stays_flat(benchmark: BenchmarkFixture, record: Recorded) -> None:
    if not board.memory_mb():
        pytest.skip("this system does not tell a process's memory")
    photos = 20 if benchmark.disabled else 2000
    with Classifier(threads=1) as classifier:

        def classify(count: int) -> float:
            for _ in range(count):
                assert classifier.classify(CHELSEA).label == "cat"
            return board.memory_mb()["now"]

        before = classify(photos)
        after = benchmark.pedantic(classify, (photos,), rounds=1)  # type: ignore[no-untyped-call]
    if not benchmark.disabled:
        record(f"memory after {photos} more photos, MB more", after - before, 2.0)
