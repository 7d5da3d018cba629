"""Frames -> scores -> what appears and what goes."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple

from edgecat.card import ModelCard
from edgecat.classifier import Classification, Classifier
from edgecat.errors import ModelError
from edgecat.labels import Groups
from edgecat.watch.frame import Frame
from edgecat.watch.presence import Change, Hysteresis, Presence

NOTHING = "neither"


class Event(NamedTuple):
    """A change, and the frame that decided it, if one did."""

    change: Change
    frame: Frame | None


def watch(
    classifier: Classifier,
    frames: Iterable[Frame | None],
    labels: Sequence[str] = (),
    hysteresis: Hysteresis | None = None,
) -> Generator[Event, None, None]:
    """Yield what appears in `frames` and what goes, as it happens.

    A frame is None if the source has none at the moment. `labels` are labels or groups of the
    model. The default is cat and dog, or all but "neither" if the model has no cat or dog.
    Raise ModelError, and what `frames` raises.
    """
    card = classifier.card
    groups = Groups(card.labels, card.groups)
    presence = Presence(watched(card, labels), hysteresis)
    for frame in frames:
        if frame is None:
            changes = presence.step(None, time.monotonic())
        else:
            result = classifier.classify(frame.pixels)
            changes = presence.step(_scores(result, groups), frame.at)
        for change in changes:
            yield Event(change, frame)


def watched(card: ModelCard, labels: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the labels and groups to watch for. Raise ModelError."""
    groups = Groups(card.labels, card.groups).names
    for label in labels:
        if label not in groups and label not in card.labels:
            raise ModelError(f"'{label}' is no label of this model; expected {', '.join(groups)}")
    return (
        tuple(labels)
        or tuple(group for group in groups if group in ("cat", "dog"))
        or tuple(group for group in groups if group != NOTHING)
    )


def _scores(result: Classification, groups: Groups) -> dict[str, float]:
    """Return the score of each label and the sum of each group."""
    return {**dict(result.scores), **groups.sums(result.scores)}
