"""How well a classifier answers on photos of known classes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Protocol

from edgecat.card import ModelCard
from edgecat.classifier import Classification, Classifier
from edgecat.errors import DataError, PhotoError
from edgecat.labels import Groups
from edgecat.measure.evaluation import WORST, Evaluation, Mistake, wilson_interval
from edgecat.measure.labelled_photos import LabelledPhoto, find_labelled_photos, loose_photos
from edgecat.photo import Photo

__all__ = [
    "WORST",
    "Evaluation",
    "LabelledPhoto",
    "Mistake",
    "System",
    "evaluate",
    "find_labelled_photos",
    "judged_by_label",
    "loose_photos",
    "wilson_interval",
]


class System(Protocol):
    """What can be evaluated: anything that classifies photos as `edgecat.Classifier` does."""

    @property
    def name(self) -> str: ...  # as results show it

    @property
    def card(self) -> ModelCard: ...  # of which labels and groups count

    @property
    def engine(self) -> str: ...

    def classify_many(
        self,
        photos: Iterable[Photo],
        *,
        on_error: Callable[[Photo, PhotoError], None] | None = None,
    ) -> Iterator[Classification]:
        """Yield an answer to each photo, in order.

        A photo that cannot be read is left out; `on_error` gets it in its turn.
        """
        ...

    def __enter__(self) -> System: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def evaluate(
    system: System,
    photos: Sequence[LabelledPhoto],
    on_step: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Classify `photos` and count the answers.

    They are judged by label, or by group if some photos' labels are only groups of the model.
    Photos that cannot be read are listed in `failures`. Raise DataError for unknown labels.
    """
    card = system.card
    by_label = judged_by_label(card, (photo.label for photo in photos), system.name)
    groups = Groups(card.labels, card.groups)
    compared = sorted({groups.of(photo.label) for photo in photos})
    result = Evaluation(
        model=system.name,
        engine=system.engine,
        file_bytes=system.path.stat().st_size if isinstance(system, Classifier) else None,
        knows_neither="neither" in groups.names,
        groups={} if by_label else card.groups,
        compared=compared if len(compared) < len(groups.names) else (),
    )
    waiting = iter(photos)
    done = 0

    def take() -> LabelledPhoto:
        nonlocal done
        done += 1
        on_step(done)
        return next(waiting)

    def fail(_: Photo, error: PhotoError) -> None:
        take()
        result.failures.append(str(error))

    began = time.perf_counter()
    for answer in system.classify_many((photo.path for photo in photos), on_error=fail):
        result.add(take(), answer)
    result.seconds = time.perf_counter() - began
    return result


def judged_by_label(card: ModelCard, labels: Iterable[str], model: str) -> bool:
    """Return whether all `labels` are labels of the model; else some are only groups.

    Raise DataError if one is neither.
    """
    given = set(labels)
    groups = sorted(Groups(card.labels, card.groups).names)
    unknown = sorted(given - {*card.labels, *groups})
    if unknown:
        more = f", or any of its {len(card.labels)} labels" if card.groups else ""
        raise DataError(
            f"class folder '{unknown[0]}' is no label of {model}; "
            f"expected {', '.join(groups)}{more}"
        )
    return given <= set(card.labels)
