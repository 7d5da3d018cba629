"""Presence of labels from the scores of frames, by a rule that prevents flicker."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Hysteresis:
    """The rule for appearing and going. Scores between `gone` and `appear` change nothing.

    Raise ValueError if a value is out of range.
    """

    appear: float = 0.8  # score, 0..1, at which a label appears
    gone: float = 0.5  # score below which a present label is not seen
    appear_frames: int = 2  # frames in a row at `appear` or more
    gone_frames: int = 6  # frames in a row below `gone`
    forget: float = 60.0  # seconds unseen after which a label is gone, however few the frames

    def __post_init__(self) -> None:
        if not 0 < self.gone <= self.appear <= 1:
            raise ValueError(
                f"appear {self.appear:g} and gone {self.gone:g}, "
                "expected scores of 0 to 1, gone no higher than appear"
            )
        if min(self.appear_frames, self.gone_frames) < 1 or not self.forget > 0:
            raise ValueError("expected at least one frame, and more than 0 seconds")


class Change(NamedTuple):
    """A label that appeared or went."""

    label: str
    appeared: bool  # False: it went
    score: float | None  # of the frame that decided; None if the label was forgotten


@dataclass
class _Sight:
    present: bool = False
    run: int = 0  # frames in a row that contradict `present`
    seen: float = -math.inf  # seconds


class Presence:
    """The labels in sight, updated frame by frame."""

    def __init__(self, labels: Iterable[str], hysteresis: Hysteresis | None = None) -> None:
        self.hysteresis = hysteresis or Hysteresis()
        self._sights = {label: _Sight() for label in labels}

    def step(self, scores: Mapping[str, float] | None, at: float) -> list[Change]:
        """Return the changes that a frame's scores make at the time `at`.

        `at` is in seconds and never decreases. `scores` is None if time passed without a frame.
        """
        rule = self.hysteresis
        changes = []
        for label, sight in self._sights.items():
            if at - sight.seen > rule.forget:
                sight.run = 0
                if sight.present:
                    sight.present = False
                    changes.append(Change(label, False, None))
            if scores is None:
                continue
            score = scores[label]
            seen = score >= (rule.gone if sight.present else rule.appear)
            if seen:
                sight.seen = at
            sight.run = sight.run + 1 if seen != sight.present else 0
            if sight.run == (rule.gone_frames if sight.present else rule.appear_frames):
                sight.present, sight.run = seen, 0
                changes.append(Change(label, seen, score))
        return changes
