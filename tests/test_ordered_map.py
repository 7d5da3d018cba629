"""Work done ahead by threads, in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from queue import Queue

import pytest

from edgecat.ordered_map import ordered_map

WAIT = 20.0  # seconds; what should come at once is given up after


def test_the_order_is_that_of_the_items_whoever_is_done_first() -> None:
    def work(number: int) -> int:
        time.sleep(0.001 * (number % 4))
        return -number

    results = [(item, future.result()) for item, future in ordered_map(work, range(60), 4)]
    assert results == [(number, -number) for number in range(60)]


def test_a_result_is_there_before_the_next_item_is() -> None:
    coming: Queue[int] = Queue()

    def items() -> Iterator[int]:
        while (item := coming.get(timeout=WAIT)) >= 0:
            yield item

    pairs = ordered_map(lambda item: 2 * item, items(), 3)
    for item in (1, 2, 3):
        coming.put(item)  # and no other before its result was seen
        assert next(pairs)[1].result() == 2 * item
    coming.put(-1)
    assert next(pairs, None) is None


def test_no_more_is_taken_than_there_is_room_for() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    pairs = ordered_map(str, items(), 3)
    assert next(pairs)[1].result() == "0"
    time.sleep(0.1)
    assert 1 < len(taken) <= 2 * 3
    assert next(pairs)[1].result() == "1"  # the first has made room for one
    time.sleep(0.1)
    assert len(taken) <= 2 * 3 + 1
    pairs.close()
    time.sleep(0.1)
    assert len(taken) <= 4 * 3


def test_errors_are_raised_in_their_turn() -> None:
    def work(number: int) -> int:
        return 10 // (number - 2)

    pairs = ordered_map(work, range(4), 2)
    assert [next(pairs)[1].result() for _ in range(2)] == [-5, -10]
    with pytest.raises(ZeroDivisionError):
        next(pairs)[1].result()
    assert next(pairs)[1].result() == 10
    assert next(pairs, None) is None


def test_an_error_of_the_items_comes_after_what_was_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("unplugged")

    pairs = ordered_map(lambda item: item, items(), 2)
    assert [next(pairs)[1].result() for _ in range(2)] == [1, 2]
    with pytest.raises(OSError, match="unplugged"):
        next(pairs)


def test_who_stops_early_waits_for_what_is_being_worked_on_and_no_more() -> None:
    working, done = threading.Semaphore(0), []

    def work(item: int) -> int:
        working.release()
        time.sleep(0.05)
        done.append(item)
        return item

    pairs = ordered_map(work, range(1000), 2)
    next(pairs)[1].result()
    pairs.close()
    count = len(done)
    assert 1 <= count <= 5
    time.sleep(0.2)
    assert len(done) <= count + 1
    assert not [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("edgecat-") and thread.is_alive()
    ]
