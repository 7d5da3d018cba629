"""Many photos: all cores against one worker, threads that share a classifier, stable memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from floor import CHELSEA, TEST_SET
from pytest_benchmark.fixture import BenchmarkFixture

from edgecat.classifier import Classifier
from edgecat.engines import cores
from edgecat.measure import board
from edgecat.photo import find_photos

PHOTOS, ROUNDS = 2000, 8
SOAKED, REOPENED = 20_000, 300
Recorded = Callable[..., None]

needs_two_cores = pytest.mark.skipif(cores() < 2, reason="needs two cores")
needs_memory = pytest.mark.skipif(
    not board.memory_mb(), reason="this system does not tell a process's memory"
)


def folder_of(count: int) -> list[Path]:
    """Real photos, where they are, else the same one over and over."""
    return (
        find_photos(TEST_SET, recursive=True)[:: PHOTOS // count]
        if TEST_SET.is_dir()
        else [CHELSEA] * count
    )


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def by_turns(works: Sequence[Callable[[int], Any]], rounds: int) -> list[list[float]]:
    """Return the seconds of each work in each round. A work takes the round's number.

    Callers take the median of the rounds' ratios, as the machine changes from round to round.
    """
    return [[seconds(partial(work, number)) for work in works] for number in range(rounds)]


@needs_two_cores
def test_a_folder_on_two_cores(benchmark: BenchmarkFixture, record: Recorded) -> None:
    """Compare with one worker, and with the best possible pipeline.

    That takes the time of the slower of decoding and inference, each by one thread alone.
    """
    photos, rounds = (
        folder_of(20 if benchmark.disabled else PHOTOS),
        1 if benchmark.disabled else ROUNDS,
    )
    with Classifier(threads=1) as classifier:
        pixels = [classifier.pixels(photo) for photo in photos[:20]]

        def part(number: int) -> list[Path]:
            return photos[number % 4 :: 4]

        def classify(number: int, workers: int) -> None:
            assert sum(1 for _ in classifier.classify_many(part(number), workers=workers)) == len(
                part(number)
            )

        def decode(number: int) -> None:
            for photo in part(number):
                classifier.pixels(photo)

        def infer(number: int) -> None:
            for place in range(len(part(number))):
                classifier.run(classifier.tensor(pixels[place % len(pixels)]))

        found = by_turns(
            (partial(classify, workers=1), partial(classify, workers=2), decode, infer), rounds
        )
        benchmark.pedantic(classify, (0, 2), rounds=1)  # type: ignore[no-untyped-call]
    if not benchmark.disabled:
        pipeline = statistics.median(
            max(decoding, inference) / two for _, two, decoding, inference in found
        )
        print(f"\ntwo workers / the slower stage alone: {pipeline:.3f} (budget: at least 0.9)")
        figures = {"photos": len(photos), "of_the_slower_stage": pipeline, "rounds_s": found}
        record(
            "two workers / one, photos a second",
            statistics.median(one / two for one, two, *_ in found),
            1.8,
            at_least=True,
            **figures,
        )
        assert pipeline >= 0.9


@needs_two_cores
def test_four_threads_that_share_a_classifier(
    benchmark: BenchmarkFixture, record: Recorded
) -> None:
    photos = folder_of(20 if benchmark.disabled else 400)
    with Classifier(threads=1) as classifier, ThreadPoolExecutor(4) as pool:
        expected = [classifier.classify(photo) for photo in photos]

        def alone(_: int) -> None:
            assert [classifier.classify(photo) for photo in photos] == expected

        def shared(_: int) -> None:
            assert list(pool.map(classifier.classify, photos)) == expected

        shared(0)  # opens the engines
        found = by_turns((alone, shared), 1 if benchmark.disabled else ROUNDS)
        benchmark.pedantic(shared, (0,), rounds=1)  # type: ignore[no-untyped-call]
    if not benchmark.disabled:
        record(
            "four threads that share a classifier on two cores / one thread, photos a second",
            statistics.median(one / four for one, four in found),
            1.7,
            at_least=True,
        )


@needs_memory
def test_memory_over_many_classifications(benchmark: BenchmarkFixture, record: Recorded) -> None:
    photos = folder_of(20)
    with Classifier(threads=1) as classifier:

        def classify(count: int) -> float:
            alone = count // 5
            for number in range(alone):
                classifier.classify(photos[number % len(photos)])
            assert (
                sum(
                    1
                    for _ in classifier.classify_many(
                        photos[number % len(photos)] for number in range(count - alone)
                    )
                )
                == count - alone
            )
            return board.memory_mb()["now"]

        before = classify(20 if benchmark.disabled else 2000)
        count = 20 if benchmark.disabled else SOAKED
        after = benchmark.pedantic(classify, (count,), rounds=1)  # type: ignore[no-untyped-call]
    if not benchmark.disabled:
        record(f"memory after {SOAKED} more classifications, MB more", after - before, 4.0)


@needs_memory
def test_memory_over_many_openings(benchmark: BenchmarkFixture, record: Recorded) -> None:
    def reopen(count: int) -> float:
        for _ in range(count):
            with Classifier() as classifier:
                assert classifier.classify(CHELSEA).label == "cat"
        return board.memory_mb()["now"]

    before = reopen(2 if benchmark.disabled else 50)
    count = 2 if benchmark.disabled else REOPENED
    after = benchmark.pedantic(reopen, (count,), rounds=1)  # type: ignore[no-untyped-call]
    if not benchmark.disabled:
        record(f"memory after {REOPENED} more classifiers, MB more", after - before, 4.0)
