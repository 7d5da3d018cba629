"""A classifier in an app that lives for months: threads, processes, event loops, memory."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from real import CHELSEA, COFFEE

from edgecat import Classifier, EngineError, PhotoError, engines
from edgecat.engines import Engine
from edgecat.measure import board

PHOTOS = (CHELSEA, COFFEE)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads of each engine that is opened from here on, on a machine of two cores."""
    found: list[int] = []
    open_engine = engines.open_engine

    def counting(path: Path, engine: str, threads: int, device: str = "cpu") -> Engine:
        found.append(threads)
        return open_engine(path, engine, threads, device)

    monkeypatch.setattr(engines, "open_engine", counting)
    monkeypatch.setattr(engines, "cores", lambda: 2)
    return found


def test_many_threads_share_as_many_engines_as_there_are_cores(opened: list[int]) -> None:
    with Classifier() as classifier:
        expected = [classifier.classify(photo) for photo in PHOTOS]
        assert opened == [2]  # one that uses both cores for one photo
        start = threading.Barrier(6)

        def work(_: int) -> bool:
            start.wait()
            return all(
                [classifier.classify(photo) for photo in PHOTOS] == expected for _ in range(10)
            )

        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(work, range(6)))
        assert opened in ([2, 1], [2, 1, 1])  # the first made way, once a core each was better
        assert [classifier.classify(photo) for photo in PHOTOS] == expected
        assert len(opened) <= 3


def test_no_thread_waits_for_ever() -> None:
    """The others ask again at once, and take a returned engine before a waiting thread wakes up."""
    with Classifier(threads=1) as classifier:
        done = [0] * (2 * engines.cores() + 1)

        def work(number: int) -> None:
            while min(done) < 3:
                classifier.classify(CHELSEA)
                done[number] += 1

        threads = [
            threading.Thread(target=work, args=(number,), daemon=True)
            for number in range(len(done))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert min(done) >= 3, done


def test_a_slow_stream_takes_no_engine_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "cores", lambda: 1)
    arrived = threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert arrived.wait(30)
            return super().read(size)

    with Classifier(threads=1) as classifier, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(classifier.classify, Slow(CHELSEA.read_bytes()))
        assert classifier.classify(COFFEE).label == "neither"
        arrived.set()
        assert slow.result(30).label == "cat"


def test_as_many_threads_as_were_asked_for(opened: list[int]) -> None:
    with Classifier(threads=2) as classifier:
        assert len(list(classifier.classify_many([CHELSEA] * 12, workers=4))) == 12
    assert set(opened) == {2}


def test_one_worker_is_the_callers_own_thread(opened: list[int]) -> None:
    with Classifier(threads=1) as classifier:
        before = threading.active_count()
        for result in classifier.classify_many(PHOTOS, workers=1):
            assert result.label in ("cat", "neither")
            assert threading.active_count() == before
    assert opened == [1]


def test_an_error_ends_the_threads(tmp_path: Path) -> None:
    with Classifier(threads=1) as classifier:
        with pytest.raises(PhotoError, match="no such file") as caught:
            list(
                classifier.classify_many(
                    [CHELSEA, tmp_path / "none.jpg", *[CHELSEA] * 100], workers=2
                )
            )
        for thread in [
            thread for thread in threading.enumerate() if thread.name.startswith("edgecat-")
        ]:
            thread.join(
                20
            )  # even though the error, which remembers where it came from, is still held
            assert not thread.is_alive(), caught


def test_closing_while_others_are_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Engine] = []
    closed: list[Engine] = []
    open_engine = engines.open_engine

    def watched(path: Path, engine: str, threads: int, device: str = "cpu") -> Engine:
        new = open_engine(path, engine, threads, device)
        close = new.close

        def closing() -> None:
            closed.append(new)
            close()

        monkeypatch.setattr(new, "close", closing)
        opened.append(new)
        return new

    monkeypatch.setattr(engines, "open_engine", watched)
    classifier = Classifier()
    at_work = threading.Barrier(4)
    failed: list[str] = []

    def work() -> None:
        at_work.wait()
        try:
            while True:
                assert classifier.classify(CHELSEA).label == "cat"
        except EngineError as error:
            failed.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    at_work.wait()
    classifier.close()
    for thread in threads:
        thread.join(20)
    assert failed == ["the classifier is closed; open a new one"] * 3
    assert {*map(id, closed)} == {*map(id, opened)}
    classifier.close()  # once more does no harm


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_process_goes_on_by_itself(threads: int) -> None:
    """In a process of its own, as those that run tests have threads."""
    code = f"""
import os, sys
from edgecat import Classifier

classifier = Classifier(threads={threads})
before = classifier.classify(sys.argv[1])
child = os.fork()
assert classifier.classify(sys.argv[1]) == before
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print("child", classifier.classify(sys.argv[1]).label)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(CHELSEA)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "child cat\n"), done.stderr


def test_a_classifier_is_pickled_as_what_was_asked_for() -> None:
    with Classifier(threshold=0.999, threads=1) as classifier:
        copy = pickle.loads(pickle.dumps(classifier))
        with copy:
            assert copy.classify(CHELSEA) == classifier.classify(CHELSEA)
            assert copy.classify(CHELSEA).label == "unsure"
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.map(classifier.classify, [str(COFFEE)]) == [classifier.classify(COFFEE)]


def test_an_event_loop_goes_on_meanwhile() -> None:
    async def main() -> tuple[list[str], int]:
        with Classifier() as classifier:
            ticks, over = 0, asyncio.Event()

            async def tick() -> None:
                nonlocal ticks
                while not over.is_set():
                    ticks += 1
                    await asyncio.sleep(0.001)

            ticking = asyncio.create_task(tick())
            results = await asyncio.gather(
                *(classifier.classify_async(photo) for photo in PHOTOS * 5)
            )
            over.set()
            await ticking
            with pytest.raises(PhotoError, match="no such file"):
                await classifier.classify_async("none.jpg")
            return [result.label for result in results], ticks

    labels, ticks = asyncio.run(main())
    assert labels == ["cat", "neither"] * 5
    assert ticks > 3


SOAK = """
import sys
from edgecat import Classifier
from edgecat.measure import board

photo = sys.argv[1]

def grown(work):
    work()
    before = board.memory_mb()["now"]
    work(), work()
    return board.memory_mb()["now"] - before

def classify():
    for _ in range(200):
        classifier.classify(photo)
    results = classifier.classify_many([photo] * 200, workers=2)
    assert all(result.label == "cat" for result in results)

def open_and_close():
    for _ in range(50):
        Classifier().close()

with Classifier(threads=1) as classifier:
    print(grown(classify), grown(open_and_close))
"""


@pytest.mark.skipif(not board.memory_mb(), reason="this system does not tell a process's memory")
def test_memory_does_not_grow() -> None:
    """Short; bench/test_folder.py soaks for longer. An engine takes 7 MB, a photo's pixels 0.15."""
    done = subprocess.run(
        [sys.executable, "-c", SOAK, str(CHELSEA)], capture_output=True, text=True, check=True
    )
    classifying, opening = map(float, done.stdout.split())
    assert (
        classifying < 4
    )  # MB; of 800 photos. Threads come and go, and so does a little of the C library's memory
    assert opening < 2  # of 100 classifiers
