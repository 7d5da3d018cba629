"""Loss and accuracy on the validation photos."""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt

from edgecat.card import InputRecipe
from edgecat.photo import Pixels
from edgecat_export.dataset import Dataset, part_of
from edgecat_export.training.temperature import calibrated_loss, weights_of_origins

BATCH = 64  # photos

Array = npt.NDArray[np.float32]
OfOrigins = dict[str, dict[str, dict[str, float]]]  # origin -> label -> photos and accuracy


def scores_of(model: keras.Model, pixels: Pixels, recipe: InputRecipe) -> Array:
    """Return the scores of photos (photos, height, width, 3), (photos, labels)."""
    batches = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
    return np.concatenate([model.predict_on_batch(recipe.normalise(batch)) for batch in batches])


def validation_row(scores: Array, dataset: Dataset) -> dict[str, float]:
    """Return loss and accuracy on upright, unaugmented photos, and the accuracy of each class.

    In the first two, every origin has the same weight. The loss is that of calibrated scores:
    how sure the network is while it trains on mixed photos does not matter.
    """
    targets, weights = dataset.targets(), weights_of_origins(dataset.photos)
    right = scores.argmax(axis=1) == targets
    row = {
        "validation_loss": calibrated_loss(scores, targets, weights),
        "accuracy": float(weights @ right),
    }
    for index, label in enumerate(dataset.labels):
        row[f"accuracy_{label}"] = float(right[targets == index].mean())
    return row


def accuracy_by_origin(scores: Array, dataset: Dataset) -> OfOrigins:
    """Return the number of photos and the accuracy of each label of each origin."""
    right = scores.argmax(axis=1) == dataset.targets()
    origins: OfOrigins = {}
    for label, origin in sorted({part_of(photo) for photo in dataset.photos}):
        members = np.array([part_of(photo) == (label, origin) for photo in dataset.photos])
        entry = {"photos": int(members.sum()), "accuracy": round(float(right[members].mean()), 4)}
        origins.setdefault(origin, {})[label] = entry
    return origins


def origin_lines(origins: OfOrigins) -> list[str]:
    """Return one line an origin, for people."""
    lines = []
    for origin, labels in origins.items():
        entries = [
            f"{label} {entry['accuracy']:.1%} of {entry['photos']}"
            for label, entry in labels.items()
        ]
        lines.append(f"{origin:<20} {', '.join(entries)}")
    return lines
