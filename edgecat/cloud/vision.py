"""Google Cloud Vision's label detection, used as a Classifier is: the baseline in the cloud.

Photos leave the machine. After https://cloud.google.com/vision/quotas.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from importlib.metadata import version
from types import TracebackType
from typing import NamedTuple

from edgecat.card import InputRecipe, ModelCard
from edgecat.classifier import Classification
from edgecat.cloud.answers import LABELS, Labels, interpret
from edgecat.cloud.batch import MAX_RESULTS, MODEL, Answers, batches, request_labels
from edgecat.cloud.cache import AnswerCache
from edgecat.cloud.connection import (
    ENDPOINT,
    FAILURES,
    NAME,
    Connection,
    pauses,
    requested_pause,
)
from edgecat.cloud.pricing import Estimate
from edgecat.cloud.request import MAX_PHOTOS, PHOTOS_PER_MINUTE, SIDE, light
from edgecat.errors import CloudError, PhotoError
from edgecat.photo import Photo, read_encoded


class Patience(NamedTuple):
    """How long to wait for the service, in seconds."""

    first_pause: float = 1.0  # before the second try, at most; doubled for each further one
    longest_pause: float = 32.0  # unless the service asks for a longer one
    total: float = 120.0  # of one request with all tries and pauses
    request: float = 60.0  # of one try


class _Question(NamedTuple):
    """A photo as the service sees it."""

    name: str
    digest: str  # sha256 of the encoded photo
    labels: Labels | None  # from the cache
    content: bytes  # to send


class CloudVision:
    """An open connection to the service. Answers are kept on disk and never paid for twice.

    `threshold` is as in Classifier. `endpoint` is the service's address; by default it is taken
    from EDGECAT_CLOUD_VISION_ENDPOINT, or is Google's. `photos_per_minute` is the quota,
    `workers` the number of requests in flight. Raise CloudError.
    """

    name = NAME
    card = ModelCard("cloud-vision", NAME, LABELS, InputRecipe(SIDE, SIDE), precision="")

    def __init__(
        self,
        *,
        threshold: float = 0.0,
        endpoint: str | None = None,
        photos_per_minute: float = PHOTOS_PER_MINUTE,
        workers: int = 8,
        patience: Patience | None = None,
    ) -> None:
        self.threshold = threshold
        self._connection = Connection(endpoint)
        self.endpoint = self._connection.endpoint
        self.engine = (
            f"Cloud Vision API v1 (google-cloud-vision {version('google-cloud-vision')})"
            + (f" at {self.endpoint}" if self.endpoint != ENDPOINT else "")
        )
        host = re.sub("[^a-z0-9.-]", "_", self.endpoint.partition("://")[2])
        kind = f"LABEL_DETECTION-{MODEL.replace('/', '-')}-{MAX_RESULTS}"
        self._cache = AnswerCache(host, kind)
        self._pause_per_photo = 60 / photos_per_minute
        self._workers = workers
        self._patience = patience or Patience()
        self._lock = threading.Lock()
        self._next_request = 0.0  # time.monotonic() before which the quota allows none

    def classify(self, photo: Photo) -> Classification:
        """Return what the service says of a photo. Raise PhotoError, CloudError."""
        return next(self.classify_many([photo]))

    def classify_many(
        self,
        photos: Iterable[Photo],
        *,
        on_error: Callable[[Photo, PhotoError], None] | None = None,
    ) -> Iterator[Classification]:
        """Yield classifications in the order of `photos`.

        Sixteen photos go into a request, and several requests are in flight. A photo that cannot
        be read, or that the service refuses, raises PhotoError, or is passed to `on_error` and
        left out. If the service refuses a request for good or does not answer in time, its
        earlier answers are yielded, then CloudError is raised.
        """
        photos, stop = iter(photos), threading.Event()
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                while window := list(itertools.islice(photos, self._workers * MAX_PHOTOS)):
                    yield from self._classify_window(window, pool, stop, on_error)
            finally:
                stop.set()

    def estimate(self, photos: Sequence[Photo]) -> Estimate:
        """Return what asking about `photos` would cost.

        Photos that cannot be read are not counted. `photos` are read, so they must not be open
        files.
        """
        with ThreadPoolExecutor(self._workers) as pool:
            digests = [digest for digest in pool.map(_digest, photos) if digest]
        unknown = sum(self._cache.get(digest) is None for digest in set(digests))
        return Estimate(len(digests), unknown)

    def time_request(self, contents: Sequence[bytes]) -> float:
        """Return the milliseconds of one request about photos, from sending to the answer.

        The cache is not used, so the request is paid for. Raise CloudError.
        """
        self._wait_for_quota(len(contents), threading.Event())
        answers: Answers = {}
        batch = {str(number): content for number, content in enumerate(contents)}
        began = time.perf_counter()
        try:
            request_labels(self._connection, batch, answers, self._patience.request)
        except FAILURES as error:
            raise self._connection.explained(error) from None
        taken = 1000 * (time.perf_counter() - began)
        reason = next((answer for answer in answers.values() if isinstance(answer, str)), None)
        if reason is not None:
            raise CloudError(f"{NAME} refuses the photo ({reason})")
        return taken

    def interpret(self, labels: Labels) -> Classification:
        """Return what the service's labels say: cat, dog or neither."""
        return interpret(labels, self.threshold, self.engine)

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def __enter__(self) -> CloudVision:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _classify_window(
        self,
        window: Sequence[Photo],
        pool: ThreadPoolExecutor,
        stop: threading.Event,
        on_error: Callable[[Photo, PhotoError], None] | None,
    ) -> Iterator[Classification]:
        questions = list(pool.map(self._prepare, window))
        contents = {
            question.digest: question.content
            for question in questions
            if isinstance(question, _Question) and question.labels is None
        }
        answers: Answers = {}
        in_flight = [pool.submit(self._ask, batch, answers, stop) for batch in batches(contents)]
        failure = _first_failure(in_flight)
        if failure is not None:
            stop.set()
        wait(in_flight)  # the others finish, as they are paid for
        for photo, question in zip(window, questions, strict=True):
            if isinstance(question, PhotoError):
                refusal = question
            else:
                known = question.labels
                answer = answers.get(question.digest) if known is None else known
                if isinstance(answer, list):
                    yield self.interpret(answer)
                    continue
                if answer is None and failure is not None:
                    raise failure
                refusal = PhotoError(f"{question.name}: refused by {NAME} ({answer})")
            if on_error is None:
                raise refusal
            on_error(photo, refusal)
        if failure is not None:  # answers that could not be kept
            raise failure

    def _prepare(self, photo: Photo) -> _Question | PhotoError:
        try:
            encoded = read_encoded(photo)
            digest = hashlib.sha256(encoded.content).hexdigest()
            known = self._cache.get(digest)
            return _Question(encoded.name, digest, known, light(encoded) if known is None else b"")
        except PhotoError as error:
            return error

    def _ask(self, batch: Mapping[str, bytes], answers: Answers, stop: threading.Event) -> None:
        """Ask about the photos of `batch`, by digest, and keep the answers; add to `answers`.

        Some may be missing if another request fails meanwhile. Raise CloudError.
        """
        deadline = time.monotonic() + self._patience.total
        for pause in pauses(self._patience.first_pause, self._patience.longest_pause):
            asked = {digest: content for digest, content in batch.items() if digest not in answers}
            self._wait_for_quota(len(asked), stop)
            if stop.is_set():
                return
            failure: Exception | None = None
            try:
                request_labels(self._connection, asked, answers, self._patience.request)
            except FAILURES as error:
                failure = error
            self._keep(asked, answers)
            if failure is None:
                return
            longer = max(pause, requested_pause(failure))
            if (
                stop.is_set()
                or not self._connection.worth_another_try(failure)
                or time.monotonic() + longer > deadline
            ):
                raise self._connection.explained(failure)
            stop.wait(longer)

    def _keep(self, digests: Iterable[str], answers: Answers) -> None:
        """Write the labels of photos to the cache. Raise CloudError."""
        for digest in digests:
            labels = answers.get(digest)
            if isinstance(labels, list):
                self._cache.keep(digest, labels)

    def _wait_for_quota(self, photos: int, stop: threading.Event) -> None:
        with self._lock:
            start = max(time.monotonic(), self._next_request)
            self._next_request = start + photos * self._pause_per_photo
        stop.wait(max(0.0, start - time.monotonic()))


def _digest(photo: Photo) -> str:
    """Return the sha256 of a photo; empty if it cannot be read."""
    try:
        return hashlib.sha256(read_encoded(photo).content).hexdigest()
    except PhotoError:
        return ""


def _first_failure(in_flight: Sequence[Future[None]]) -> BaseException | None:
    """Wait until all are done or one failed. Return its error, if any."""
    for future in wait(in_flight, return_when=FIRST_EXCEPTION).done:
        error = future.exception()
        if error is not None:
            return error
    return None
