"""The options of a training run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from edgecat.card import InputRecipe
from edgecat_export.architectures import find_architecture


@dataclass(frozen=True)
class Options:
    """What is trained, on what and how. `training.json` in the run folder holds it."""

    architecture: str
    data: tuple[str, ...]
    weights: str | None  # "imagenet", a file, or None
    alpha: float | None  # None where the architecture has one width
    size: int  # pixels
    epochs: int
    batch: int = 32
    learning_rate: float = 3e-4
    fine_tune: int | None = None  # last blocks trained after the head; 0: none; None: all layers
    mixup: float = 0.2
    augment: float = 1.0  # strength of the photos' random changes
    validation: float = 0.05  # share of each class
    seed: int = 1
    exclude: tuple[str, ...] = ()
    detail: float = 1.0  # share of the size that a JPEG has to be decoded at, at least
    distill: float = 1.0  # weight of the loss that keeps the ImageNet classes; 0: none
    scenes: tuple[str, ...] = ()  # origins whose photos others are pasted into

    def recipe(self) -> InputRecipe:
        """Return how photos become the network's input."""
        recipe = find_architecture(self.architecture).recipe(self.size)
        return dataclasses.replace(recipe, detail=self.detail)

    @property
    def starts_from_checkpoint(self) -> bool:
        """Whether `weights` is a checkpoint of an earlier run."""
        return self.weights is not None and Path(self.weights).suffix == ".keras"

    @property
    def starts_from_imagenet(self) -> bool:
        """Whether `weights` are those of an ImageNet network."""
        return self.weights is not None and not self.starts_from_checkpoint
