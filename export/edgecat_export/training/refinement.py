"""The best checkpoint is interpolated with its start, and its scores are calibrated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from edgecat_export import checkpoint
from edgecat_export.dataset import Dataset, pixel_batches
from edgecat_export.training.progress import Progress
from edgecat_export.training.report import (
    Array,
    accuracy_by_origin,
    origin_lines,
    scores_of,
    validation_row,
)
from edgecat_export.training.run_folder import RunFolder
from edgecat_export.training.temperature import (
    Scores,
    Targets,
    Weights,
    apply_temperature,
    find_temperature,
    losses,
    temper,
    weights_of_origins,
)

SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the fine-tuned weights


def refine(run: RunFolder, validation: Dataset, progress: Progress) -> None:
    """Refine the best checkpoint of the run, and write it again. Do nothing the second time."""
    model, card = checkpoint.load(run.checkpoint)
    if "temperature" in card.training:
        return  # done before the run was interrupted
    paths = [photo.path for photo in validation.photos]
    pixels = np.concatenate(list(pixel_batches(paths, card.input)))

    def answer() -> Array:
        return scores_of(model, pixels, card.input)

    targets, weights = validation.targets(), weights_of_origins(validation.photos)
    record = dict(card.training)
    if run.start_weights.exists():
        tuned = model.get_weights()
        model.load_weights(run.start_weights)
        start = model.get_weights()
        model.set_weights(tuned)
        progress.say("interpolating with the weights before fine-tuning")
        record["interpolation"] = interpolate(model, start, answer, targets, weights)
    record["temperature"] = find_temperature(answer(), targets, weights)
    apply_temperature(model, record["temperature"])
    scores = answer()
    origins = accuracy_by_origin(scores, validation)
    evaluation = {**card.evaluation, **validation_row(scores, validation), "origins": origins}
    refined = dataclasses.replace(card, training=record, evaluation=evaluation)
    checkpoint.save(model, refined, run.checkpoint)
    run.start_weights.unlink(missing_ok=True)
    for key in ("interpolation", "temperature"):
        if key in record:
            progress.say(f"{key} {record[key]:g}")
    for line in origin_lines(origins):
        progress.say(line)


def interpolate(
    model: keras.Model,
    start: Sequence[npt.NDArray[Any]],
    answer: Callable[[], Scores],
    targets: Targets,
    weights: Weights,
) -> float:
    """Set `model` to a mean of its weights and `start`; return the share of its own weights.

    Wortsman et al. 2022, arXiv 2109.01903: weights nearer to the network before fine-tuning
    answer as well on the photos of the training, and better on others. The smallest of `SHARES`
    is chosen whose weighted loss exceeds the best by at most one standard error of their
    difference.
    """
    tuned = [np.array(value) for value in model.get_weights()]
    losses_at = {}
    for share in SHARES:
        _set_mean(model, start, tuned, share)
        scores = answer()
        calibrated = temper(scores, find_temperature(scores, targets, weights))
        losses_at[share] = losses(calibrated, targets)
    best = min(SHARES, key=lambda share: float((weights * losses_at[share]).sum()))

    def is_as_good(share: float) -> bool:
        worse = losses_at[share] - losses_at[best]  # photo by photo
        mean = (weights * worse).sum()
        return bool(mean <= np.sqrt((weights**2 * (worse - mean) ** 2).sum()))

    chosen = next(share for share in SHARES if is_as_good(share))
    _set_mean(model, start, tuned, chosen)
    return chosen


def _set_mean(model: keras.Model, start: Sequence[Any], tuned: Sequence[Any], share: float) -> None:
    pairs = zip(start, tuned, strict=True)
    model.set_weights([(1 - share) * before + share * after for before, after in pairs])
