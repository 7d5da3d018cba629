"""The batches of one epoch."""

from __future__ import annotations

import math
import os
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from edgecat_export.dataset import Dataset, balanced_order
from edgecat_export.training.augmentation import augment
from edgecat_export.training.network.distillation import DRIFT
from edgecat_export.training.options import Options

Array = npt.NDArray[np.float32]


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Inputs (batch, ...) and targets (batch, classes), both float32.

    Seed, epoch and index alone decide every variant, so a resumed run has the same batches as an
    uninterrupted one. `mixup` blends each input, and its target, with another of the batch. Their
    shares are drawn from Beta(mixup, mixup) (Zhang et al. 2018, arXiv 1710.09412); 0: no blending.
    """

    def __init__(self, dataset: Dataset, options: Options, epoch: int, mixup: float) -> None:
        super().__init__(workers=os.cpu_count() or 1, max_queue_size=8)
        self.dataset, self.options, self.epoch, self.mixup = dataset, options, epoch, mixup
        self.order = balanced_order(dataset, np.random.default_rng([options.seed, epoch]))
        self.targets = np.eye(len(dataset.labels), dtype=np.float32)[dataset.targets()]

    def inputs(self, places: range) -> Array:
        """Return the inputs at these places of the epoch's order."""
        raise NotImplementedError

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.options.batch)

    def __getitem__(self, index: int) -> tuple[Array, Any]:
        begin = index * self.options.batch
        places = range(begin, min(begin + self.options.batch, len(self.order)))
        inputs, targets = self.inputs(places), self.targets[self.order[places.start : places.stop]]
        if self.mixup:
            rng = np.random.default_rng([self.options.seed, self.epoch, len(self.order) + index])
            share = np.float32(rng.beta(self.mixup, self.mixup))
            inputs = share * inputs + (1 - share) * inputs[::-1]
            targets = share * targets + (1 - share) * targets[::-1]
        return inputs, targets


class AugmentedPhotos(Batches):
    """Random variants of photos, (batch, size, size, 3)."""

    def __init__(self, dataset: Dataset, options: Options, epoch: int, mixup: float) -> None:
        super().__init__(dataset, options, epoch, mixup)
        self.scenes = [photo.path for photo in dataset.photos if photo.origin in options.scenes]

    def inputs(self, places: range) -> Array:
        recipe = self.options.recipe()
        pixels = []
        for place in places:
            photo = self.dataset.photos[self.order[place]].path
            rng = np.random.default_rng([self.options.seed, self.epoch, place])
            pixels.append(augment(photo, recipe, rng, self.options.augment, self.scenes))
        return recipe.normalise(np.stack(pixels))


class PhotosAndDrift(AugmentedPhotos):
    """The same for a network with a second output, whose target is 0."""

    def __getitem__(self, index: int) -> tuple[Array, dict[str, Array]]:
        inputs, targets = super().__getitem__(index)
        return inputs, {"scores": targets, DRIFT: np.zeros((len(targets), 1), np.float32)}


class FeaturesOfPhotos(Batches):
    """Features of photos, plain or mirrored, (batch, channels)."""

    def __init__(self, variants: Array, dataset: Dataset, options: Options, epoch: int) -> None:
        """`variants` are in the order of the dataset's photos, (variants, photos, channels)."""
        super().__init__(dataset, options, epoch, options.mixup)
        self.variants = variants

    def inputs(self, places: range) -> Array:
        rng = np.random.default_rng([self.options.seed, self.epoch, places.start])
        chosen = rng.integers(len(self.variants), size=len(places))
        features: Array = self.variants[chosen, self.order[places.start : places.stop]]
        return features
