"""Calibrated scores: the loss, and the temperature that makes it least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from edgecat.measure.accuracy import LabelledPhoto
from edgecat_export.dataset import part_of
from edgecat_export.training.network.known_classes import logit_layers

TEMPERATURES = np.geomspace(0.25, 4, 241)
FEW_PHOTOS = 50  # fewer do not determine a temperature

Scores = npt.NDArray[Any]  # (photos, labels), floats
Targets = npt.NDArray[np.int64]  # (photos,)
Weights = npt.NDArray[np.float64]  # (photos,), 1 in sum


def weights_of_origins(photos: Sequence[LabelledPhoto]) -> Weights:
    """Return the weight of each photo.

    Every origin has the same weight, and in it every label.
    """
    parts = [part_of(photo) for photo in photos]
    distinct = set(parts)
    labels_of = {origin: sum(other == origin for _, other in distinct) for _, origin in distinct}
    photos_of = {part: parts.count(part) for part in distinct}
    weights = [1 / (photos_of[part] * labels_of[part[1]]) for part in parts]
    return np.array(weights) / len(labels_of)


def losses(scores: Scores, targets: Targets) -> npt.NDArray[np.float64]:
    """Return each photo's negative log likelihood, (photos,)."""
    chosen = scores[np.arange(len(targets)), targets].astype(np.float64)
    result: npt.NDArray[np.float64] = -np.log(np.clip(chosen, 1e-7, 1))
    return result


def temper(scores: Scores, temperature: float) -> npt.NDArray[np.float64]:
    """Return the scores of logits divided by `temperature`, (photos, labels)."""
    clipped = np.clip(scores.astype(np.float64), 1e-7, 1)
    powers: npt.NDArray[np.float64] = clipped ** (1 / temperature)
    tempered: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return tempered


def find_temperature(scores: Scores, targets: Targets, weights: Weights) -> float:
    """Return the temperature that makes `scores` most likely (Guo et al. 2017, arXiv 1706.04599).

    Above 1 the scores were too sure, below 1 not sure enough. 1 for too few photos.
    """
    if len(scores) < FEW_PHOTOS:
        return 1.0

    def loss(temperature: float) -> float:
        return float((weights * losses(temper(scores, temperature), targets)).sum())

    return round(float(min(TEMPERATURES, key=loss)), 4)


def calibrated_loss(scores: Scores, targets: Targets, weights: Weights) -> float:
    """Return the weighted loss of the scores at their best temperature."""
    calibrated = temper(scores, find_temperature(scores, targets, weights))
    return float((weights * losses(calibrated, targets)).sum())


def apply_temperature(model: keras.Model, temperature: float) -> None:
    """Divide the logits of `model` by `temperature`, in the weights of its last layers."""
    for layer in logit_layers(model):
        layer.set_weights([value / temperature for value in layer.get_weights()])
