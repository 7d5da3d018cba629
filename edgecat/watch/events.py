"""Frames -> scores -> what appears and what goes."""

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
    """A change, and the frame that decided it, if one did."""

    change: Change
    frame: Frame | None


def watch(
    classifier: Classifier,
    frames: Iterable[Frame | None],
    labels: Sequence[str] = (),
    hysteresis: Hysteresis | None = None,
) -> Generator[Event, None, None]:
    """What appears in `frames` and what goes, as it happens; a None among them says that there is none right now.

    `labels` may be labels or groups of the model; else they are cat and dog, or of a model without them all but "neither".
    Raises ModelError, and what `frames` raises.
    """
    presence = Presence(watched(classifier.card, labels), hysteresis)
    for frame in frames:
        if frame is None:
            changes = presence.step(None, time.monotonic())
        else:
            changes = presence.step(
                _scores(classifier.classify(frame.pixels), classifier.card), frame.at
            )
        for change in changes:
            yield Event(change, frame)


def watched(card: ModelCard, labels: Sequence[str] = ()) -> tuple[str, ...]:
    """The labels and groups to watch for. Raises ModelError."""
    groups = tuple(dict.fromkeys(card.groups.get(label, label) for label in card.labels))
    for label in labels:
        if label not in groups and label not in card.labels:
            raise ModelError(f"'{label}' is no label of this model; expected {', '.join(groups)}")
    return (
        tuple(labels)
        or tuple(group for group in groups if group in ("cat", "dog"))
        or tuple(group for group in groups if group != NOTHING)
    )


def _scores(result: Classification, card: ModelCard) -> dict[str, float]:
    """Of each label, and of each group the sum of its labels'."""
    sums: dict[str, float] = {}
    for label, score in result.scores:
        group = card.groups.get(label, label)
        sums[group] = sums.get(group, 0.0) + score
    return {**dict(result.scores), **sums}
