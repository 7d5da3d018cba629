"""Verification: does a model file answer like the Keras model it came from?

It runs the file as written, with edgecat's own engine and tables, on the very pixels that Keras answered.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecat.classifier import Classifier
from edgecat.photo import Pixels


@dataclass(frozen=True)
class Limits:
    """What a file must reach to be written."""

    agreement: float  # share of inputs with the same best label
    mean_difference: float  # of scores
    accuracy_lost: float  # points; on photos with labels only


# Where the two best scores are close, quantising may change which is best. Made inputs are all of that kind, so less is asked of them.
LIMITS = {"fp32": Limits(0.999, 1e-4, 0.05), "fp16": Limits(0.995, 5e-3, 0.1), "int8": Limits(0.98, 3e-2, 0.5)}
# Among a thousand labels the best two are often close: breeds, say. What int8 loses is what Google's own MobileNets lose by quantising.
LIMITS_OF_MANY_LABELS = {"fp32": Limits(0.999, 1e-4, 0.1), "fp16": Limits(0.98, 1e-3, 0.5), "int8": Limits(0.75, 1e-3, 2.0)}
MANY_LABELS = 100
LIMITS_ON_MADE_INPUTS = {"fp32": Limits(0.97, 1e-4, 0.0), "fp16": Limits(0.95, 5e-3, 0.0), "int8": Limits(0.85, 5e-2, 0.0)}


@dataclass(frozen=True)
class Verification:
    """How a model file compares with Keras."""

    inputs: str  # "photos" or "made by edgecat"
    count: int
    agreement: float  # 0..1
    largest_difference: float  # between two scores
    mean_difference: float
    accuracy: float | None = None  # of the file, on photos of known classes
    accuracy_of_keras: float | None = None
    counted_by: str | None = None  # "group" where the photos tell only which group is right

    @property
    def accuracy_lost(self) -> float:
        """Points."""
        return 0.0 if self.accuracy is None or self.accuracy_of_keras is None else 100 * (self.accuracy_of_keras - self.accuracy)

    def shortfalls(self, precision: str, max_drop: float | None = None, labels: int = 0) -> list[str]:
        """Where a model of so many labels falls short, in words."""
        on_photos = LIMITS_OF_MANY_LABELS if labels >= MANY_LABELS else LIMITS
        limits = (on_photos if self.inputs == "photos" else LIMITS_ON_MADE_INPUTS)[precision]
        short = []
        if self.agreement < limits.agreement:
            short.append(f"agreement {self.agreement:.2%}, expected at least {limits.agreement:.1%}")
        if self.mean_difference > limits.mean_difference:
            short.append(f"mean score difference {self.mean_difference:.4f}, expected at most {limits.mean_difference}")
        most = limits.accuracy_lost if max_drop is None else max_drop
        if self.accuracy is not None and self.accuracy_lost > most:
            short.append(f"{self.accuracy_lost:.2f} points of accuracy lost, expected at most {most}")
        return short

    def record(self) -> dict[str, Any]:
        """For the model card."""
        return {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items() if value is not None}


def verify(
    file: Path,
    pixels: Pixels,
    reference: npt.NDArray[np.float32],
    targets: npt.NDArray[np.int64] | None,
    groups: npt.NDArray[np.int64] | None = None,
) -> Verification:
    """`pixels` (inputs, height, width, 3), Keras's scores on them `reference` (inputs, classes), the right classes or None for made inputs.

    A target of -1 is not known. With `groups`, the number of each class's group, targets are groups, which add up the scores of their classes.
    """
    with Classifier(file) as classifier:
        scores = np.stack([classifier.run(classifier.tensor(image)) for image in pixels])
    best, keras_best = scores.argmax(axis=1), reference.argmax(axis=1)
    accuracy = accuracy_of_keras = None
    if targets is not None and (known := targets >= 0).any():
        members = np.eye(scores.shape[1]) if groups is None else np.eye(groups.max() + 1)[groups]  # (classes, answers)
        accuracy, accuracy_of_keras = (float(((given @ members).argmax(axis=1) == targets)[known].mean()) for given in (scores, reference))
    difference = np.abs(scores - reference)
    return Verification(
        "made by edgecat" if targets is None else "photos",
        len(pixels),
        float((best == keras_best).mean()),
        float(difference.max()),
        float(difference.mean()),
        accuracy,
        accuracy_of_keras,
        None if groups is None else "group",
    )
