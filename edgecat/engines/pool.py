"""EnginePool: lends the engines of one open model to threads, and starts again after a fork."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgecat import engines
from edgecat.engines import Engine
from edgecat.errors import EngineError

PATIENCE = 0.1  # seconds that a thread waits before it is served first


class EnginePool:
    """Engines of one model. Each is lent to one thread at a time.

    At most one engine per core is open, since more would only take memory. `first` is open
    already; `open_more` opens another. A `temporary` first engine, which has several threads, is
    closed once threads compete for engines: from then on one core per photo is faster.
    """

    def __init__(
        self, first: Engine, open_more: Callable[[], Engine], *, temporary: bool = False
    ) -> None:
        self._open_more = open_more
        self._temporary = first if temporary else None
        self._contested = False  # whether a thread ever asked for an engine while none was idle
        self._closed = False
        self._start([first])
        _pools.add(self)

    def _start(self, idle: list[Engine]) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)  # of what follows
        self._idle = idle
        self._open = len(idle)  # idle or lent
        self._waiting: list[float] = []  # when each waiting thread began, the longest first
        self._reserved = False  # whether the next idle engine is for the longest waiting thread

    @contextmanager
    def lend(self) -> Iterator[Engine]:
        """Lend an engine to the calling thread. Raise EngineError if the pool is closed."""
        engine = self._take() or self._open_another()
        try:
            yield engine
        finally:
            self._take_back(engine)

    def close(self) -> None:
        """Close all idle engines now, and lent ones when they come back."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            while self._idle:
                self._idle.pop().close()

    def _take(self) -> Engine | None:
        """Return an idle engine, or None if another one may be opened. Wait for either.

        A thread that comes straight back overtakes those that wait, because waking another
        thread takes longer than a core should be idle. PATIENCE limits how long it may.
        """
        since = None
        with self._lock:
            try:
                while not self._closed:
                    if self._idle and (not self._reserved or since == self._waiting[0]):
                        return self._idle.pop()
                    self._contested = True
                    if self._open < engines.cores():
                        self._open += 1
                        return None
                    if since is None:
                        since = time.monotonic()
                        self._waiting.append(since)
                    self._changed.wait()
                raise EngineError("the classifier is closed; open a new one")
            finally:
                if since is not None:
                    self._waiting.remove(since)
                    self._reserved = False
                    if self._idle:
                        self._changed.notify()

    def _open_another(self) -> Engine:
        try:
            return self._open_more()
        except BaseException:  # the place must become free again, whatever happened
            with self._lock:
                self._release_slot()
            raise

    def _take_back(self, engine: Engine) -> None:
        with self._lock:
            if self._closed or (engine is self._temporary and self._contested):
                engine.close()
                self._release_slot()
                return
            self._idle.append(engine)
            if self._waiting:
                self._reserved = time.monotonic() - self._waiting[0] > PATIENCE
                self._changed.notify(len(self._waiting) if self._reserved else 1)

    def _release_slot(self) -> None:
        self._open -= 1
        self._changed.notify()


_pools: weakref.WeakSet[EnginePool] = weakref.WeakSet()
_left_behind: list[Engine] = []  # closing them would wait for threads that the fork did not copy


def _start_again() -> None:
    """Give each pool a fresh start in a forked process, where one thread alone runs."""
    for pool in _pools:
        _left_behind.extend(pool._idle)
        pool._start([])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_again)
