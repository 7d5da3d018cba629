"""The stages from a photo to its answer, and the clock of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from edgecat.classifier import Classifier
from edgecat.photo import decode, read_pixels

STAGES = ("decode", "resize", "table", "invoke", "answer")  # in their order


def photo_steps(classifier: Classifier, photo: str | Path) -> list[Callable[[Any], Any]]:
    """Return a function for each of `STAGES`; each takes what the one before it returned."""
    recipe = classifier.card.input
    return [
        lambda _: decode(photo, at_least=recipe.least),
        lambda image: read_pixels(image, recipe),
        classifier.tensor,
        classifier.run,
        classifier.interpret,
    ]


def clocked(*steps: Callable[[Any], Any]) -> Callable[[], list[float]]:
    """Return a function that runs `steps` one after another and returns the ms of each.

    The first step gets None, every other step what the one before it returned.
    """

    def work() -> list[float]:
        value: Any = None
        clock = [time.perf_counter()]
        for step in steps:
            value = step(value)
            clock.append(time.perf_counter())
        return [1000 * (end - start) for start, end in pairwise(clock)]

    return work
