"""The last layers of a network, trained on features that are computed once."""

from __future__ import annotations

import keras
import numpy as np

from edgecat_export.dataset import Dataset, balanced_order
from edgecat_export.training.network.features import Base, Features
from edgecat_export.training.options import Options
from edgecat_export.training.progress import Progress

EPOCHS = 40  # before fine-tuning, on features: seconds
LABEL_SMOOTHING = 0.05  # some labels are wrong


def base_of(model: keras.Model, options: Options) -> Base:
    """Return the network up to its features."""
    return Base(keras.Model(model.input, model.get_layer("dropout").input), options.recipe())


def head_of(model: keras.Model) -> keras.Model:
    """Return a model from features to scores that shares the last layers of `model`."""
    return keras.Model(model.get_layer("dropout").input, model.output)


def features_of(base: Base, dataset: Dataset, mirrored: bool, progress: Progress) -> Features:
    """Return the features of all photos, (photos, channels).

    The cache holds them for the whole dataset, so another split or seed can use it.
    """
    phase = "features of mirrored photos" if mirrored else "features of photos"
    paths = [photo.path for photo in dataset.photos]
    return base.features(paths, mirrored, lambda done: progress.step(phase, done, len(paths)))


def fit_head(
    model: keras.Model, everything: Dataset, training: Dataset, options: Options, progress: Progress
) -> None:
    """Train the head of `model` on the photos of `training`, a part of `everything`.

    Fine-tuning from a random head would damage the layers before it.
    """
    features = features_of(base_of(model, options), everything, False, progress)
    by_photo = dict(zip(everything.photos, features, strict=True))
    order = balanced_order(training, np.random.default_rng([options.seed, 0]))
    targets = np.eye(len(training.labels), dtype=np.float32)[training.targets()]
    head = head_of(model)
    head.compile(
        keras.optimizers.Adam(3e-3),
        keras.losses.CategoricalCrossentropy(label_smoothing=LABEL_SMOOTHING),
        jit_compile=jit(),
    )
    inputs = np.stack([by_photo[training.photos[i]] for i in order])
    head.fit(inputs, targets[order], batch_size=256, epochs=EPOCHS, verbose=0)


def jit() -> bool | str:
    """Return the `jit_compile` of a network that trains on this backend.

    Under TensorFlow, XLA makes depthwise convolutions on a CPU fifteen times slower (measured).
    JAX has nothing else.
    """
    return False if keras.backend.backend() == "tensorflow" else "auto"
