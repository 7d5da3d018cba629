"""How close evaluate comes to using every core for decoding and inference alone.

Run with: pytest bench -s
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from floor import CHELSEA, TEST_SET, open_bare_loop
from pytest_benchmark.fixture import BenchmarkFixture

from edgecat import Classifier
from edgecat.engines import cores
from edgecat.measure.accuracy import LabelledPhoto, evaluate, find_labelled_photos

PHOTOS = 2000
ROUNDS = 4  # by turns, so that what disturbs one disturbs the other
AHEAD = 4 * cores()  # photos from the end, where no thread has run out of photos and ended yet
TASKS = Path("/proc/self/task")


def seconds_asked() -> float:
    """Return the processor time that the living threads asked for.

    It is the time that they ran, and the time that they waited while others had the cores.
    """
    nanoseconds = 0
    for task in TASKS.iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            given, waited, _ = (task / "schedstat").read_text().split()
            nanoseconds += int(given) + int(waited)
    return nanoseconds / 1e9


@pytest.mark.skipif(not TASKS.is_dir(), reason="needs the Linux scheduler's statistics")
def test_evaluate_takes_at_most_1_3_of_decoding_and_inference_on_all_cores(
    benchmark: BenchmarkFixture, record: Callable[..., None]
) -> None:
    """Measure processor time and the number of cores that the threads ask for.

    So the result holds on a machine that others use too. Threads that wait for each other ask for
    no core: work that Python's lock serialises would show as one core.
    """
    photos = (
        list(find_labelled_photos([str(TEST_SET)]))
        if TEST_SET.is_dir()
        else [LabelledPhoto(CHELSEA, "cat")] * PHOTOS
    )
    assert len(photos) == PHOTOS
    if benchmark.disabled:
        photos = photos[:: PHOTOS // 40]
    bare_loop = open_bare_loop()
    floor = processor = wall = asked = asked_within = 0.0

    def both() -> None:
        nonlocal floor, processor, wall, asked, asked_within
        with Classifier(threads=1) as classifier:
            for start in range(ROUNDS):
                part = photos[start::ROUNDS]
                began = time.process_time()
                for photo in part:
                    bare_loop(photo.path)
                floor += time.process_time() - began

                began, wall_began, asked_began = (
                    time.process_time(),
                    time.perf_counter(),
                    seconds_asked(),
                )

                def step(
                    done: int,
                    look: int = len(part) - AHEAD,
                    asked_before: float = asked_began,
                    before: float = wall_began,
                ) -> None:
                    nonlocal asked, asked_within
                    if done == look:
                        asked += seconds_asked() - asked_before
                        asked_within += time.perf_counter() - before

                evaluate(classifier, part, step)
                processor += time.process_time() - began
                wall += time.perf_counter() - wall_began

    benchmark.pedantic(both, rounds=1)  # type: ignore[no-untyped-call]
    at_once = asked / asked_within
    ratio = (processor / at_once) / (floor / cores())
    figures = {
        "floor_s": floor,
        "processor_s": processor,
        "wall_s": wall,
        "cores": cores(),
        "cores_asked_for": at_once,
        "cores_got": processor / wall,
    }
    if not benchmark.disabled:
        assert processor / floor <= 1.3
        record("evaluate 2,000 photos / bare decode and inference / cores", ratio, 1.3, **figures)
