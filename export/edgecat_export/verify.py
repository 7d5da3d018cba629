"""Verification: the scores of a model file against those of the Keras model.

The file runs as written, with edgecat's own engine and tables, on the same pixels as Keras.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgecat.classifier import Classifier
from edgecat.photo import Pixels


class Limits(NamedTuple):
    """The limits that a file has to keep to be written."""

    agreement: float  # share of inputs with the same best label
    mean_difference: float  # of scores
    accuracy_lost: float = 100.0  # points; on photos with labels only
    share_lost: float = 1.0  # of Keras's accuracy; likewise


# Where the two best scores are close, quantising may change which is best. With many labels, such
# as breeds, and on synthetic inputs, this is frequent. For int8 with many labels the limit is
# MLPerf's rule for MobileNet: 98 % of the accuracy.
LIMITS = {
    "fp32": Limits(0.999, 1e-4, 0.05),
    "fp16": Limits(0.995, 5e-3, 0.1),
    "int8": Limits(0.98, 3e-2, 0.5),
}
LIMITS_OF_MANY_LABELS = {
    "fp32": Limits(0.999, 1e-4, 0.1),
    "fp16": Limits(0.98, 1e-3, 0.5),
    "int8": Limits(0.9, 1e-3, share_lost=0.02),
}
LIMITS_ON_SYNTHETIC_INPUTS = {
    "fp32": Limits(0.97, 1e-4),
    "fp16": Limits(0.95, 5e-3),
    "int8": Limits(0.85, 5e-2),
}
MANY_LABELS = 100
FEW_ANSWERS = 10  # whose accuracy is shown one by one


def limits(
    precision: str,
    photos: bool,
    labels: int,
    max_drop: float | None = None,
    min_agreement: float | None = None,
) -> Limits:
    """Return the limits for a model with so many labels, on photos or on synthetic inputs.

    `max_drop` (points) and `min_agreement` (0..1) replace the defaults.
    """
    if not photos:
        table = LIMITS_ON_SYNTHETIC_INPUTS
    elif labels >= MANY_LABELS:
        table = LIMITS_OF_MANY_LABELS
    else:
        table = LIMITS
    chosen = table[precision]
    if max_drop is not None:
        chosen = chosen._replace(accuracy_lost=max_drop, share_lost=1.0)
    return chosen if min_agreement is None else chosen._replace(agreement=min_agreement)


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
    # Accuracy on each class, of the file and of Keras, if the classes are few.
    classes: Mapping[str, tuple[float, float]] | None = None

    @property
    def accuracy_lost(self) -> float:
        """The accuracy of Keras less that of the file, in points; 0 if unknown."""
        if self.accuracy is None or self.accuracy_of_keras is None:
            return 0.0
        return 100 * (self.accuracy_of_keras - self.accuracy)

    def shortfalls(self, limits: Limits) -> list[str]:
        """Return the limits that the file does not keep, in words."""
        short = []
        if self.agreement < limits.agreement:
            short.append(
                f"agreement {self.agreement:.2%}, expected at least {limits.agreement:.1%}"
            )
        if self.mean_difference > limits.mean_difference:
            short.append(
                f"mean score difference {self.mean_difference:.4f}, "
                f"expected at most {limits.mean_difference}"
            )
        most = min(limits.accuracy_lost, 100 * limits.share_lost * (self.accuracy_of_keras or 1.0))
        if self.accuracy is not None and self.accuracy_lost > most:
            short.append(
                f"{self.accuracy_lost:.2f} points of accuracy lost, expected at most {most:.3g}"
            )
        return short

    def record(self) -> dict[str, Any]:
        """Return the record for the model card."""
        record = {
            key: round(value, 6) if isinstance(value, float) else value
            for key, value in asdict(self).items()
            if value is not None
        }
        if self.classes:
            record["classes"] = {
                name: {"accuracy": round(own, 6), "accuracy_of_keras": round(keras, 6)}
                for name, (own, keras) in self.classes.items()
            }
        return record


def verify(
    file: Path,
    pixels: Pixels,
    reference: npt.NDArray[np.float32],
    targets: npt.NDArray[np.int64] | None,
    groups: npt.NDArray[np.int64] | None = None,
    answers: Sequence[str] = (),
) -> Verification:
    """Return how the scores of `file` on `pixels` compare with Keras's.

    `pixels` is (inputs, height, width, 3), `reference` Keras's scores (inputs, classes). `targets`
    are the right classes, -1 if unknown; None for synthetic inputs. With `groups`, (classes,), the
    targets are groups, whose scores are the sums of their classes'. `answers` are the names of
    the targets.
    """
    with Classifier(file) as classifier:
        scores = np.stack([classifier.run(classifier.tensor(image)) for image in pixels])
    difference = np.abs(scores - reference)
    accuracy = accuracy_of_keras = classes = None
    if targets is not None and (targets >= 0).any():
        # (classes, answers)
        members = np.eye(scores.shape[1]) if groups is None else np.eye(groups.max() + 1)[groups]
        right = (scores @ members).argmax(axis=1) == targets
        keras_right = (reference @ members).argmax(axis=1) == targets
        known = targets >= 0
        accuracy, accuracy_of_keras = float(right[known].mean()), float(keras_right[known].mean())
        if len(answers) <= FEW_ANSWERS:
            of_class = {answer: targets == number for number, answer in enumerate(answers)}
            classes = {
                answer: (float(right[of].mean()), float(keras_right[of].mean()))
                for answer, of in of_class.items()
                if of.any()
            }
    return Verification(
        "made by edgecat" if targets is None else "photos",
        len(pixels),
        float((scores.argmax(axis=1) == reference.argmax(axis=1)).mean()),
        float(difference.max()),
        float(difference.mean()),
        accuracy,
        accuracy_of_keras,
        None if groups is None else "group",
        classes,
    )


def median_latency_ms(file: Path, pixels: Pixels, runs: int = 30) -> float:
    """Return the median latency of one photo (height, width, 3), warm, on one thread."""
    with Classifier(file, threads=1) as classifier:
        times = []
        for _ in range(runs + 5):
            began = time.perf_counter()
            classifier.run(classifier.tensor(pixels))
            times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times[5:]))
