"""A parallel map that keeps the order of its items."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[tuple[Item, Future[Result]], None, None]:
    """Yield each item with the future of its result, in the order of `items`.

    `workers` threads work ahead; at most twice `workers` items are taken ahead. Another thread
    takes the items, so a result is available at once, even if the next item is not there yet.
    An error of `items` itself is raised in its turn. Closing the generator waits for the work
    in progress.
    """
    room = threading.Semaphore(2 * workers)
    started: SimpleQueue[tuple[Item, Future[Result]] | BaseException | None] = SimpleQueue()
    closed = threading.Event()

    def take_items() -> None:
        try:
            source = iter(items)
            while room.acquire() and not closed.is_set():
                item = next(source)
                started.put((item, pool.submit(work, item)))
            started.put(None)
        except StopIteration:
            started.put(None)
        except BaseException as error:  # raised in the caller's thread
            started.put(error)

    with ThreadPoolExecutor(workers, "edgecat") as pool:
        # A daemon, because the next item may never come.
        threading.Thread(target=take_items, name="edgecat-items", daemon=True).start()
        try:
            while isinstance(pair := started.get(), tuple):
                yield pair
                room.release()
            if pair is not None:
                raise pair
        finally:
            closed.set()
            room.release()
            pool.shutdown(cancel_futures=True)
