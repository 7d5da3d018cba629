"""Classify frames and report what appears and what goes."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple

from edgecat.classifier import Classification, Classifier
from edgecat.errors import ModelError
from edgecat.model_file import ModelCard
from edgecat.watch.frame import Frame
from edgecat.watch.presence import Change, Hysteresis, Presence

NOTHING = "neither"


class Event(NamedTuple):
    """A change and the frame that decided it, if any."""

    change: Change
    frame: Frame | None


def watch(
    classifier: Classifier,
    frames: Iterable[Frame | None],
    labels: Sequence[str] = (),
    hysteresis: Hysteresis | None = None,
) -> Generator[Event, None, None]:
    """Yield what appears in `frames` and what goes, as it happens.

    None among the frames means that there is no new frame at that moment.
    `labels` are labels or groups of the model. By default they are cat and dog;
    for a model without them, every group but "neither".
    Raise ModelError, and whatever `frames` raises.
    """
    presence = Presence(watched(classifier.card, labels), hysteresis)
    for frame in frames:
        if frame is None:
            changes = presence.step(None, time.monotonic())
        else:
            result = classifier.classify(frame.pixels)
            changes = presence.step(_scores(result, classifier.card), frame.at)
        for change in changes:
            yield Event(change, frame)


def watched(card: ModelCard, labels: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the labels and groups to watch for.

    Raise ModelError if the model has no such label or group.
    """
    groups = tuple(dict.fromkeys(card.groups.get(label, label) for label in card.labels))
    for label in labels:
        if label not in groups and label not in card.labels:
            raise ModelError(f"'{label}' is no label of this model; expected {', '.join(groups)}")
    if labels:
        return tuple(labels)
    pets = tuple(group for group in groups if group in ("cat", "dog"))
    return pets or tuple(group for group in groups if group != NOTHING)


def _scores(result: Classification, card: ModelCard) -> dict[str, float]:
    """Return the score of each label, and of each group the sum of its labels' scores."""
    sums: dict[str, float] = {}
    for label, score in result.scores:
        group = card.groups.get(label, label)
        sums[group] = sums.get(group, 0.0) + score
    return {**dict(result.scores), **sums}
