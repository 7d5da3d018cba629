"""Work done by several threads, its results in the order of what they were made of."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Outcome(Generic[Item, Result]):
    """What became of one item."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self._made: SimpleQueue[tuple[Result | None, Exception | None]] = (
            SimpleQueue()
        )  # holds one, once it is there

    def result(self) -> Result:
        """Raises what the work raised."""
        result, error = self._made.get()
        if error is not None:
            raise error
        return result  # type: ignore[return-value]


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Outcome[Item, Result], None, None]:
    """What becomes of each item, in their order, which `workers` threads work on ahead, by twice their number at most.

    The threads take the items themselves, one thread at a time: an outcome is there as soon as it is made, even where the next item is not there yet.
    An error of `items` itself is raised in its turn. Where the caller stops early, what is being worked on is finished first.
    """
    source, taking = iter(items), threading.Lock()
    room = threading.Semaphore(2 * workers)
    outcomes: SimpleQueue[Outcome[Item, Result] | BaseException | None] = SimpleQueue()
    over = False

    def take() -> Outcome[Item, Result] | None:
        nonlocal over
        with taking:
            if over:
                return None
            try:
                outcome: Outcome[Item, Result] = Outcome(next(source))
            except (
                BaseException
            ) as error:  # the end of the items, or whatever their source met, which is the caller's
                over = True
                outcomes.put(None if isinstance(error, StopIteration) else error)
                return None
            outcomes.put(outcome)
            return outcome

    def run() -> None:
        while room.acquire() and (outcome := take()) is not None:
            try:
                outcome._made.put((work(outcome.item), None))
            except Exception as error:  # the caller's to judge, in its turn
                outcome._made.put((None, error))
            del outcome  # so that one item alone is alive in each thread

    # Daemons, since one that waits for the next item may wait for ever.
    for number in range(workers):
        threading.Thread(target=run, name=f"edgecat-{number}", daemon=True).start()
    try:
        while (outcome := outcomes.get()) is not None:
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome
            room.release()
    finally:
        over = True
        room.release(workers)
        while not outcomes.empty():
            left = outcomes.get()
            if isinstance(left, Outcome):
                left._made.get()
