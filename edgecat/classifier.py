"""Classifier: photo -> pixels -> input tensor -> scores -> Classification."""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex, overload

import numpy as np

from edgecat import engines
from edgecat.engines import Engine, Tensor
from edgecat.errors import EdgecatError, ModelError, PhotoError
from edgecat.photo import Photo, Pixels, photo_name, read_pixels, read_stream

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgecat.foreign.description import Description

UNSURE = "unsure"  # the label if no score reaches the threshold
MANY_LABELS = 5  # shown of a model with more: nobody reads a thousand scores


class Score(NamedTuple):
    label: str
    score: float  # 0..1


class Scores(tuple[Score, ...]):
    """The scores of all labels, best first: a tuple of Score that labels can index too."""

    __slots__ = ()

    @overload
    def __getitem__(self, key: str) -> float: ...
    @overload
    def __getitem__(self, key: SupportsIndex) -> Score: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Score, ...]: ...
    def __getitem__(self, key: Any) -> Any:
        """Return the score of a label, or the Score at a place. Raise KeyError or IndexError."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        for label, score in self:
            if label == key:
                return score
        raise KeyError(key)


@dataclass(frozen=True)
class Classification:
    """What a photo shows."""

    label: str  # the best one; "unsure" if its score is below the threshold
    score: float  # of the best label, 0..1
    # The group whose labels have the largest sum of scores, which need not be the group of
    # `label`; "unsure" if the sum is below the threshold. Without groups the same as `label`.
    group: str
    scores: Scores
    engine: str  # name and version
    # The path or file name of the photo; None for bytes, images in memory and arrays.
    photo: str | None = field(default=None, compare=False)

    def record(self, photo: str, top: int | None = None) -> dict[str, Any]:
        """Return the answer as JSON data, as `edgecat classify --json` prints it.

        `photo` is the name to show. `top` limits the scores, which are all shown by default, or
        the best 5 if the model has more labels than that.
        """
        if top is None and len(self.scores) > MANY_LABELS:
            top = MANY_LABELS
        return {
            "photo": photo,
            "label": self.label,
            "score": round(self.score, 6),
            "group": self.group,
            "scores": {label: round(score, 6) for label, score in self.scores[:top]},
            "engine": self.engine,
        }


class Classifier:
    """An open model. Threads may share it: each call borrows an engine, at most one per core.

    `device` is what computes: cpu, gpu, cuda, tensorrt, coreml or directml, if the engine has it.
    `threads` is how many threads the engine uses for one photo. The default is one per core, at
    most 4, until several photos are classified at the same time, and one from then on.
    `threshold` is the score (0..1) below which the answer is "unsure". `description` says what a
    model that edgecat did not make does not say of itself.

    Forked processes open engines of their own. A pickled classifier opens its model where it is
    unpickled. Raise ModelError or EngineError.
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
        from pathlib import Path  # here, because `import edgecat` is to cost little

        from edgecat.engines.pool import EnginePool
        from edgecat.engines.tensors import Tensors, check_shapes
        from edgecat.formats import detect, find_card
        from edgecat.labels import Groups
        from edgecat.models import DEFAULT_MODEL

        if not 0 <= threshold <= 1:
            raise EdgecatError(f"threshold {threshold}, expected a score from 0 to 1")
        self.path = Path(model) if model is not None else DEFAULT_MODEL
        self.name = self.path.name
        self.threshold = threshold
        self.device = device
        self._reopen = partial(
            Classifier,
            self.path,
            engine=engine,
            device=device,
            threads=threads,
            threshold=threshold,
            description=description,
        )
        kind = detect(self.path)
        if kind == "keras":
            raise ModelError(
                f"{self.path}: a Keras checkpoint; "
                f"make a model file of it with: edgecat export {self.path} --int8"
            )
        card = find_card(self.path)
        if card is not None and description is not None:
            raise ModelError(
                f"{self.path}: has a model card, which says all that is needed; "
                "leave the options away, or change it with 'edgecat label'"
            )
        name = engines.choose_engine(kind, engine, device)
        first = engines.open_engine(self.path, name, threads or engines.default_threads(), device)
        self.engine = first.name
        if card is None:
            from edgecat.foreign.card import describe
            from edgecat.foreign.description import Description

            card = describe(self.path, first, description or Description()).card
        check_shapes(self.path, first, card)
        self.card = card
        self._groups = Groups(card.labels, card.groups)
        logits = card.scores == "logits"
        self._tensors = Tensors(card.input, first.input, first.output, logits=logits)
        open_more = partial(engines.open_engine, self.path, name, threads or 1, device)
        self._engines = EnginePool(first, open_more, temporary=threads is None)

    def classify(self, photo: Photo) -> Classification:
        """Return what `photo` shows. Raise PhotoError if it cannot be read.

        `photo` is a path, bytes, a binary file, a PIL image or a (height, width, 3) uint8 RGB
        array.
        """
        photo = read_stream(photo)  # this may be slow, so it comes before the engine is borrowed
        # Decoding needs an engine too: more threads than cores get in each other's way.
        with self._engines.lend() as engine:
            tensor = self.tensor(self.pixels(photo))
            return self.interpret(self._scores(engine, tensor), photo_name(photo))

    def classify_many(
        self,
        photos: Iterable[Photo],
        *,
        workers: int | None = None,
        on_error: Callable[[Photo, PhotoError], None] | None = None,
    ) -> Iterator[Classification]:
        """Yield what each photo shows, in the order of `photos`.

        `workers` threads decode and classify ahead, by default and at most one per core. A photo
        that cannot be read raises PhotoError; with `on_error` it is passed to that and left out.
        With several workers, they take the photos from `photos`, one at a time. So each result
        is available at once, even if the next photo is not there yet.
        """
        workers = min(workers or engines.cores(), engines.cores())
        if workers > 1:
            from edgecat.ordered_map import ordered_map

            with closing(ordered_map(self.classify, photos, workers)) as pairs:
                results = ((photo, future.result) for photo, future in pairs)
                yield from _answers(results, on_error)
        else:
            alone = ((photo, partial(self.classify, photo)) for photo in photos)
            yield from _answers(alone, on_error)

    async def classify_async(self, photo: Photo) -> Classification:
        """Do as `classify` does in a thread, so that the event loop is not blocked."""
        import asyncio

        return await asyncio.to_thread(self.classify, photo)

    # The steps of `classify`.

    def pixels(self, photo: Photo) -> Pixels:
        """Return the (height, width, 3) uint8 pixels: RGB, upright, in the model's size.

        Raise PhotoError.
        """
        return read_pixels(photo, self.card.input)

    def tensor(self, pixels: Pixels) -> Tensor:
        """Return the input tensor of one photo: normalised, and quantised if the model is."""
        return self._tensors.read(pixels)

    def run(self, tensor: Tensor) -> npt.NDArray[np.float32]:
        """Return the scores, (classes,) float32, in the order of the card's labels."""
        with self._engines.lend() as engine:
            return self._scores(engine, tensor)

    def interpret(
        self, scores: npt.NDArray[np.float32], photo: str | None = None
    ) -> Classification:
        """Return the best label and group of (classes,) scores; `photo` is a name.

        The scores of a group's labels add up: 0.3 tabby and 0.3 tiger cat are a cat, though a
        sofa has 0.4.
        """
        pairs = map(Score, self.card.labels, scores.tolist())
        ranked = sorted(pairs, key=_BY_SCORE, reverse=True)  # stable: the first of equals leads
        best = ranked[0]
        label = group = best.label if best.score >= self.threshold else UNSURE
        if self.card.groups:
            sums = self._groups.sums(ranked)
            group = max(sums, key=sums.__getitem__)
            if sums[group] < self.threshold:
                group = UNSURE
        return Classification(label, best.score, group, Scores(ranked), self.engine, photo)

    def run_batch(self, tensors: Tensor) -> npt.NDArray[np.float32]:
        """Return the (batch, classes) scores of (batch, …) `tensors` in one run of the engine.

        Raise EngineError if the model takes one photo at a time.
        """
        with self._engines.lend() as engine:
            outputs = engine.run(tensors)
        return np.stack([self._tensors.scores(output) for output in outputs])

    @property
    def runs_on(self) -> str:
        """The execution provider, delegate or accelerator that was proven to compute."""
        with self._engines.lend() as engine:
            return engine.runs_on

    def close(self) -> None:
        """Free the engines' memory; an engine at work in another thread finishes first."""
        self._engines.close()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reopen, ()

    def _scores(self, engine: Engine, tensor: Tensor) -> npt.NDArray[np.float32]:
        return self._tensors.scores(engine.run(tensor[np.newaxis])[0])


def classify(photo: Photo) -> Classification:
    """Classify one photo with the default model, which is opened once and stays open."""
    with _opening:
        if not _default:
            _default.append(Classifier())
    return _default[0].classify(photo)


def _answers(
    results: Iterable[tuple[Photo, Callable[[], Classification]]],
    on_error: Callable[[Photo, PhotoError], None] | None,
) -> Iterator[Classification]:
    """Yield the results; raise each PhotoError, or pass it to `on_error` with its photo."""
    for photo, result in results:
        try:
            answer = result()
        except PhotoError as error:
            if on_error is None:
                raise
            on_error(photo, error)
        else:
            yield answer


_BY_SCORE = operator.attrgetter("score")
_default: list[Classifier] = []
_opening = threading.Lock()
