"""The threads that decode and classify, and the bounded queue before them."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import NamedTuple

from edgecat.classifier import Classification, Classifier
from edgecat.errors import PhotoError
from edgecat.photo import EncodedPhoto, open_photo

MAX_WAITING = 256  # photos
MAX_PIXELS = 75_000_000  # of a photo, as Cloud Vision has it
# Pixels; larger photos are decoded one at a time, because each may take hundreds of megabytes.
HEAVY = 16_000_000


class FullError(Exception):
    """Too many photos are waiting; `seconds` is about how long they will take."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Answer(NamedTuple):
    """One photo's result or error, and the seconds of each stage."""

    result: Classification | PhotoError
    queue: float
    decode: float = 0.0
    run: float = 0.0


class Pool:
    """Classifies photos in `threads` threads for an event loop; at most `room` photos wait."""

    def __init__(self, classifier: Classifier, threads: int, room: int = MAX_WAITING) -> None:
        self.classifier = classifier
        self.waiting = 0  # photos that are accepted and not yet answered
        self._room = room
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="edgecat")
        self._threads = threads
        self._seconds = 0.01  # of one photo: a moving average, for FullError
        self._counting = threading.Lock()
        self._heavy = threading.Lock()

    def submit(self, photos: Sequence[EncodedPhoto]) -> list[asyncio.Future[Answer]]:
        """Return the futures of the answers. Raise FullError if there is no room for all."""
        with self._counting:
            if self.waiting + len(photos) > self._room:
                raise FullError(max(1, math.ceil(self.waiting * self._seconds / self._threads)))
            self.waiting += len(photos)
        return [asyncio.wrap_future(self._submit(photo)) for photo in photos]

    def close(self) -> None:
        """Answer the accepted photos, then end the threads."""
        self._executor.shutdown()

    def _submit(self, photo: EncodedPhoto) -> Future[Answer]:
        future = self._executor.submit(self._classify, photo, time.perf_counter())
        future.add_done_callback(self._left)  # called for cancelled futures too
        return future

    def _left(self, _: object) -> None:
        with self._counting:
            self.waiting -= 1

    def _classify(self, photo: EncodedPhoto, asked: float) -> Answer:
        began = time.perf_counter()
        try:
            with (
                open_photo(photo, MAX_PIXELS) as opened,
                self._heavy if opened.pixels > HEAVY else nullcontext(),
            ):
                pixels = self.classifier.pixels(opened)
        except PhotoError as error:
            return Answer(error, began - asked, time.perf_counter() - began)
        decoded = time.perf_counter()
        result = self.classifier.interpret(self.classifier.run(self.classifier.tensor(pixels)))
        ended = time.perf_counter()
        self._seconds += (ended - began - self._seconds) / 16
        return Answer(result, began - asked, decoded - began, ended - decoded)
