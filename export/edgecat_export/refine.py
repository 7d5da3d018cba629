"""What is done to a trained model before it is kept: interpolated with its start, and calibrated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from edgecat.measure.accuracy import LabelledPhoto
from edgecat_export.dataset import part_of
from edgecat_export.known_classes import logit_layers

SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the fine-tuned weights
TEMPERATURES = np.geomspace(0.25, 4, 241)
FEW_PHOTOS = 50  # fewer say nothing of a temperature

Scores = npt.NDArray[Any]  # (photos, labels), floats


def weights_of_origins(photos: Sequence[LabelledPhoto]) -> npt.NDArray[np.float64]:
    """Return the weight of each photo, (photos,), 1 in sum.

    Every origin counts the same, and in it every label.
    """
    parts = [part_of(photo) for photo in photos]
    distinct = set(parts)
    labels_of = {origin: sum(other == origin for _, other in distinct) for _, origin in distinct}
    photos_of = {part: parts.count(part) for part in distinct}
    weights = [1 / (photos_of[part] * labels_of[part[1]]) for part in parts]
    return np.array(weights) / len(labels_of)


def losses(scores: Scores, targets: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return each photo's negative log likelihood, (photos,)."""
    chosen = scores[np.arange(len(targets)), targets].astype(np.float64)
    result: npt.NDArray[np.float64] = -np.log(np.clip(chosen, 1e-7, 1))
    return result


def interpolate(
    model: keras.Model,
    start: Sequence[npt.NDArray[Any]],
    answer: Callable[[], Scores],
    targets: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64],
) -> float:
    """Set `model` to a mean of its weights and `start`; return the share of its own weights.

    Wortsman et al. 2022, arXiv 2109.01903: a part of the way back towards the network that was
    not fine-tuned costs nothing where it was trained, and is more often right elsewhere. The
    smallest of `SHARES` is chosen whose weighted loss is above the best by one standard error of
    their difference at most.
    """
    tuned = [np.array(value) for value in model.get_weights()]
    found = {}
    for share in SHARES:
        _set_mean(model, start, tuned, share)
        scores = answer()
        calibrated = temper(scores, find_temperature(scores, targets, weights))
        found[share] = losses(calibrated, targets)
    best = min(SHARES, key=lambda share: float((weights * found[share]).sum()))

    def is_as_good(share: float) -> bool:
        worse = found[share] - found[best]  # photo by photo
        mean = (weights * worse).sum()
        return bool(mean <= np.sqrt((weights**2 * (worse - mean) ** 2).sum()))

    chosen = next(share for share in SHARES if is_as_good(share))
    _set_mean(model, start, tuned, chosen)
    return chosen


def _set_mean(model: keras.Model, start: Sequence[Any], tuned: Sequence[Any], share: float) -> None:
    pairs = zip(start, tuned, strict=True)
    model.set_weights([(1 - share) * before + share * after for before, after in pairs])


def temper(scores: Scores, temperature: float) -> npt.NDArray[np.float64]:
    """Return the scores that logits divided by `temperature` give, (photos, labels)."""
    powers: npt.NDArray[np.float64] = np.clip(scores.astype(np.float64), 1e-7, 1) ** (
        1 / temperature
    )
    tempered: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return tempered


def find_temperature(
    scores: Scores, targets: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]
) -> float:
    """Return the temperature that makes `scores` most likely (Guo et al. 2017, arXiv 1706.04599).

    Above 1 the scores were too sure, below 1 not sure enough. 1 for too few photos.
    """
    if len(scores) < FEW_PHOTOS:
        return 1.0

    def loss(temperature: float) -> float:
        return float((weights * losses(temper(scores, temperature), targets)).sum())

    return round(float(min(TEMPERATURES, key=loss)), 4)


def calibrated_loss(
    scores: Scores, targets: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]
) -> float:
    """Return the weighted loss of the scores at their best temperature."""
    calibrated = temper(scores, find_temperature(scores, targets, weights))
    return float((weights * losses(calibrated, targets)).sum())


def apply_temperature(model: keras.Model, temperature: float) -> None:
    """Divide the logits of `model` by `temperature`: in its last layers, so every engine has it."""
    for layer in logit_layers(model):
        layer.set_weights([value / temperature for value in layer.get_weights()])
