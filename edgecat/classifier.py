"""Classifier: photo -> pixels -> tensor -> scores -> Classification."""

from __future__ import annotations

import math
import operator
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgecat import engines
from edgecat.engines import Engine, Tensor
from edgecat.errors import EngineError, ModelError, PhotoError
from edgecat.model_file import ModelCard, find_card, model_format
from edgecat.photo import Photo, Pixels, read_pixels, read_stream

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgecat.foreign.description import Description

PATIENCE = 0.1  # seconds that a thread lets others go before it
UNSURE = "unsure"  # the label where no score reaches the threshold


class Score(NamedTuple):
    label: str
    score: float  # 0..1


@dataclass(frozen=True)
class Classification:
    """What a photo shows."""

    label: str  # the best, or "unsure" where its score is below the threshold
    score: float  # of the best label, 0..1
    group: str  # that the label falls into; the label itself for cat, dog and neither
    scores: tuple[Score, ...]  # every label's, best first
    engine: str  # that ran, with its version


class Classifier:
    """An open model. Threads may share it: each call borrows an engine of its own, of which there are as many as cores at most.

    `device` is what computes: cpu, gpu, cuda, tensorrt, coreml or directml, as far as the engine has it.
    `threshold` is the score (0..1) below which the answer is "unsure"; `threads` is how many the
    engine uses for one photo, else one a core, at most 4, until several photos are classified at the same
    time, and one from then on; `description` tells what a model that edgecat did not make does not say of itself.

    A forked process, and one that a classifier is pickled to, opens the model anew. Raises ModelError, EngineError.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        engine: str | None = None,
        device: str = "cpu",
        threads: int | None = None,
        threshold: float = 0.0,
        description: Description | None = None,
    ) -> None:
        from pathlib import Path  # not above: of importing edgecat it would be a third

        from edgecat.models import DEFAULT_MODEL

        self.path = Path(model) if model is not None else DEFAULT_MODEL
        self.name = self.path.name
        kind = model_format(self.path)
        if kind == "keras":
            raise ModelError(
                f"{self.path}: a Keras checkpoint; make a model file of it with: edgecat export {self.path} --int8"
            )
        card = find_card(self.path)
        if card is not None and description is not None:
            raise ModelError(
                f"{self.path}: has a model card, which says all that is needed; leave the options away, or change it with 'edgecat label'"
            )
        self.threshold = threshold
        self._engine_name = engines.choose_engine(kind, engine, device)
        self.device = device
        self._asked: dict[str, Any] = {
            "engine": engine,
            "device": device,
            "threads": threads,
            "threshold": threshold,
            "description": description,
        }
        self._threads = threads
        first = self._open(threads or engines.default_threads())
        self.engine = first.name
        if card is None:
            from edgecat.foreign.card import describe
            from edgecat.foreign.description import Description

            card = describe(self.path, first, description or Description()).card
        self.card = card
        recipe = card.input
        expected = ((1, recipe.height, recipe.width, 3), (1, len(card.labels)))
        if not _fits(first, *expected):
            raise ModelError(
                f"{self.path}: {first.input.shape} -> {first.output.shape}, but its card says {expected[0]} -> {expected[1]}; export it anew"
            )
        self._input_table, self._output_table = (
            engines.input_table(recipe, first.input),
            engines.output_table(first.output),
        )
        self._input, self._output = first.input, first.output
        self._keep([first])
        self._many_threaded = None if threads else first
        self._alone = True  # never yet several photos at the same time
        self._closed = False

    def classify(self, photo: Photo) -> Classification:
        """A path, bytes, a binary file, a PIL image or a (height, width, 3) uint8 RGB array. Raises PhotoError."""
        photo = read_stream(photo)  # which may be slow, and takes no engine from others
        engine = self._borrow()  # before decoding: more threads than cores get in each other's way, four on two cores by a tenth
        try:
            return self.interpret(self._scores(engine, self.tensor(self.pixels(photo))))
        finally:
            self._give_back(engine)

    def classify_many(
        self,
        photos: Iterable[Photo],
        *,
        workers: int | None = None,
        on_error: Callable[[Photo, PhotoError], None] | None = None,
    ) -> Iterator[Classification]:
        """Classifications in the order of `photos`, which `workers` threads decode and classify ahead: one for each core, or fewer if told so.

        A photo that cannot be read raises PhotoError, or is handed to `on_error` and left out. With several workers it is they who take the photos
        from `photos`, one at a time, so each answer is there at once even where the next photo is not there yet.
        """
        workers = min(workers or engines.cores(), engines.cores())  # as there are no more engines
        if workers > 1:
            from edgecat.ordered_map import in_order

            with closing(
                in_order(self.classify, photos, workers)
            ) as outcomes:  # whatever ends this ends the threads too
                yield from _answers(
                    ((outcome.item, outcome.result) for outcome in outcomes), on_error
                )
        else:
            yield from _answers(
                ((photo, partial(self.classify, photo)) for photo in photos), on_error
            )

    async def classify_async(self, photo: Photo) -> Classification:
        """As `classify`, in a thread, so that an event loop goes on meanwhile."""
        import asyncio

        return await asyncio.to_thread(self.classify, photo)

    # The steps of `classify`, for those who have a part of the way behind them.

    def pixels(self, photo: Photo) -> Pixels:
        """(height, width, 3) uint8, RGB, upright, of the model's size. Raises PhotoError."""
        return read_pixels(photo, self.card.input)

    def tensor(self, pixels: Pixels) -> Tensor:
        """What the engine reads: normalised, and quantised if the model is, by one table look-up."""
        return engines.to_tensor(pixels, self._input_table, self._input)

    def run(self, tensor: Tensor) -> npt.NDArray[np.float32]:
        """Scores, (classes,) float32, in the order of the card's labels."""
        engine = self._borrow()
        try:
            return self._scores(engine, tensor)
        finally:
            self._give_back(engine)

    def interpret(self, scores: npt.NDArray[np.float32]) -> Classification:
        """(classes,) scores -> labels, group and threshold.

        The group is the one whose labels' scores add up to most: 0.3 tabby and 0.3 tiger cat are a cat, whatever a sofa's 0.4.
        """
        labels, groups = self.card.labels, self.card.groups
        ranked = tuple(
            sorted(map(Score, labels, scores.tolist()), key=_BY_SCORE, reverse=True)
        )  # of equals the first stays first
        best = ranked[0]
        label = group = best.label if best.score >= self.threshold else UNSURE
        if groups:
            sums: dict[str, float] = {}
            for name, score in ranked:
                of_group = groups.get(name, name)
                sums[of_group] = sums.get(of_group, 0.0) + score
            group = max(sums, key=sums.__getitem__)
            if sums[group] < self.threshold:
                group = UNSURE
        return Classification(label, best.score, group, ranked, self.engine)

    def run_batch(self, tensors: Tensor) -> npt.NDArray[np.float32]:
        """(batch, …) of what `tensor` makes -> (batch, classes) scores, in one run of the engine. Raises EngineError where the model takes one alone."""
        engine = self._borrow()
        try:
            outputs = engine.run(tensors)
        finally:
            self._give_back(engine)
        return np.stack(
            [
                _probabilities(
                    engines.dequantise(each, self._output_table, self._output), self.card
                )
                for each in outputs
            ]
        )

    @property
    def runs_on(self) -> str:
        """What was proven to compute: the execution provider, delegate or accelerator."""
        engine = self._borrow()
        try:
            return engine.runs_on
        finally:
            self._give_back(engine)

    def close(self) -> None:
        """Give the engines' memory back; an engine at work in another thread finishes first."""
        self._notice_fork()
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            while self._idle:
                self._idle.pop().close()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, threads: int) -> Engine:
        return engines.open_engine(self.path, self._engine_name, threads, self.device)

    def _keep(self, idle: list[Engine]) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)  # of what follows
        self._idle = idle
        self._opened = len(
            idle
        )  # idle or at work: one for each core at most, as more would only take memory
        self._waiting: list[
            float
        ] = []  # since when each thread waits for an engine, the longest first
        self._reserved = (
            False  # whether the next idle engine is for the thread that has waited longest
        )

    def _notice_fork(self) -> None:
        if os.getpid() != self._process:  # the engines' own threads stayed behind
            _left_behind.extend(self._idle)
            self._keep([])

    def _scores(self, engine: Engine, tensor: Tensor) -> npt.NDArray[np.float32]:
        return _probabilities(
            engines.dequantise(engine.run(tensor[np.newaxis])[0], self._output_table, self._output),
            self.card,
        )

    def _borrow(self) -> Engine:
        """An engine that no other thread uses until it is given back. Raises EngineError."""
        self._notice_fork()
        with self._lock:
            engine = self._take()
        if engine is None:
            try:
                engine = self._open(self._threads or 1)  # as the other cores are at work too
            except EngineError:
                self._one_less()
                raise
        return engine

    def _take(self) -> Engine | None:
        """The next idle engine, or None where one more may be opened.

        A thread that comes straight back goes before those that wait, since waking another takes longer than a core should be idle; but not for ever.
        """
        since = None
        try:
            while not self._closed:
                if self._idle and (not self._reserved or since == self._waiting[0]):
                    return self._idle.pop()
                self._alone = False
                if self._opened < engines.cores():
                    self._opened += 1
                    return None
                if since is None:
                    since = time.monotonic()
                    self._waiting.append(since)
                self._changed.wait()
            raise _closed()
        finally:
            if since is not None:
                self._waiting.remove(since)
                self._reserved = False
                if self._idle:
                    self._changed.notify()

    def _give_back(self, engine: Engine) -> None:
        if self._closed or (engine is self._many_threaded and not self._alone):
            engine.close()
            self._one_less()
            return
        with self._lock:
            self._idle.append(engine)
            if self._waiting:
                self._reserved = time.monotonic() - self._waiting[0] > PATIENCE
                self._changed.notify(len(self._waiting) if self._reserved else 1)
        if self._closed:
            self.close()

    def _one_less(self) -> None:
        """Make room for another engine."""
        with self._lock:
            self._opened -= 1
            self._changed.notify()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Classifier, self.path, **self._asked), ()


def _answers(
    results: Iterable[tuple[Photo, Callable[[], Classification]]],
    on_error: Callable[[Photo, PhotoError], None] | None,
) -> Iterator[Classification]:
    """What each photo's result is; PhotoError is raised, or handed to `on_error` with its photo."""
    for photo, result in results:
        try:
            answer = result()
        except PhotoError as error:
            if on_error is None:
                raise
            on_error(photo, error)
        else:
            yield answer


def _closed() -> EngineError:
    return EngineError("the classifier is closed; open a new one")


def _fits(engine: Engine, photo: tuple[int, ...], scores: tuple[int, ...]) -> bool:
    """Whether an engine reads and gives these shapes; one output does for two labels."""
    read, said = engine.input.photo_shape, math.prod(engine.output.shape)
    return (
        len(read) == len(photo)
        and all(n in (0, wanted) for n, wanted in zip(read, photo, strict=True))
        and (said in (0, scores[1]) or (said, scores[1]) == (1, 2))
    )


def _probabilities(outputs: npt.NDArray[np.float32], card: ModelCard) -> npt.NDArray[np.float32]:
    """A score for each label, of what the model gives; a single output is the second label's."""
    logits = card.scores == "logits"
    if len(outputs) == 1:
        outputs = np.concatenate([np.zeros(1, np.float32) if logits else 1 - outputs, outputs])
    if not logits:
        return outputs
    powers = np.exp(outputs - outputs.max())
    scores: npt.NDArray[np.float32] = powers / powers.sum()
    return scores


_BY_SCORE = operator.attrgetter("score")
_left_behind: list[
    Engine
] = []  # in forked processes: closing them would wait for threads that are not there
_default: list[Classifier] = []
_opening = threading.Lock()


def classify(photo: Photo) -> Classification:
    """Classify one photo with the model that comes with the package, opened at the first call and kept open."""
    with _opening:
        if not _default:
            _default.append(Classifier())
    return _default[0].classify(photo)
