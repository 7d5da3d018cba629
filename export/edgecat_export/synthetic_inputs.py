"""Synthetic inputs to verify on without photos: noise with the statistics of photos.

Each is changed until the model's score of one label is high. On plain noise, a classifier of cats
and dogs answers `neither`, and so would a broken file that always answers `neither`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgecat.card import InputRecipe
from edgecat.photo import Pixels

if TYPE_CHECKING:
    import keras

STEPS = 8
AT_ONCE = 4  # pictures: more take more memory, and no less time
STEP = 4.0  # standard deviation of one step's change, in pixel values


def synthetic_inputs(model: keras.Model, recipe: InputRecipe) -> Pixels:
    """Return pictures (count, height, width, 3), by gradient ascent on each label in turn.

    Needs the TensorFlow backend.
    """
    import tensorflow as tf

    labels = model.output_shape[-1]
    least, most = (recipe.normalise(np.full((1, 3), value)) for value in (0, 255))
    mean, std = np.asarray(recipe.mean, np.float32), np.asarray(recipe.std, np.float32)

    @tf.function  # type: ignore[untyped-decorator]
    def climbed(values: Any, wanted: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            likelihood = tf.reduce_sum(wanted * tf.math.log(model(values, training=False) + 1e-7))
        # Smoothed: shapes, not single pixels.
        uphill = tf.nn.avg_pool2d(tape.gradient(likelihood, values), 5, 1, "SAME")
        uphill /= tf.math.reduce_std(uphill, axis=(1, 2, 3), keepdims=True) + 1e-12
        return tf.clip_by_value(values + STEP / std * uphill, least, most)

    pictures = noise(recipe)
    for start in range(0, len(pictures), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        values = tf.constant(recipe.normalise(pictures[some]))
        wanted = tf.one_hot(np.arange(start, start + len(values)) % labels, labels)
        for _ in range(STEPS):
            values = climbed(values, wanted)
        pictures[some] = np.clip(np.rint(values.numpy() * std + mean), 0, 255)
    return pictures


def noise(recipe: InputRecipe, count: int = 48, seed: int = 0) -> Pixels:
    """Return pictures (count, height, width, 3) with the statistics of photos.

    The amplitude falls as 1/frequency (Field 1987), and the colours are correlated.
    """
    rng = np.random.default_rng(seed)
    height, width = recipe.height, recipe.width
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf  # no mean
    pictures = np.empty((count, height, width, 3), np.uint8)
    for picture in pictures:
        steepness = rng.uniform(0.8, 1.6)
        phases = np.exp(2j * np.pi * rng.random((4, *frequency.shape)))
        planes = np.fft.irfft2(phases / frequency**steepness, s=(height, width))
        planes /= planes.std(axis=(1, 2), keepdims=True)
        colour = planes[0] + rng.uniform(0.1, 0.6) * planes[1:]  # (3, height, width)
        values = np.clip(rng.uniform(80, 170) + rng.uniform(20, 70) * colour, 0, 255)
        picture[:] = values.astype(np.uint8).transpose(1, 2, 0)
    return pictures
