"""Observation: the outputs of every layer of a folded model on photos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from edgecat.card import InputRecipe
from edgecat.errors import DataError
from edgecat_export.quantisation.statistics import Ranges, Statistics

SAMPLE = 1000  # values kept of each photo and layer: all logits of an ImageNet model
WEIGHTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)

Array = npt.NDArray[np.float32]


class Outputs(NamedTuple):
    """The outputs of one layer on all photos."""

    low: float
    high: float
    sample: Array  # (photos, SAMPLE or fewer), evenly spaced over each photo's values
    means: Array  # (channels,)


class _Measure(keras.layers.Layer):  # type: ignore[misc]
    """Return `Outputs` of each photo. A layer, because its name must be unique in the model."""

    def call(self, values: Any) -> tuple[Any, Any, Any, Any]:
        axes = tuple(range(1, len(values.shape)))
        count = int(np.prod(values.shape[1:]))
        stride = -(-count // SAMPLE) | 1  # odd, so that the sample has values of all channels
        sample = keras.ops.reshape(values, (-1, count))[:, ::stride]
        means = keras.ops.mean(values, axis=axes[:-1]) if axes[:-1] else values
        return keras.ops.min(values, axis=axes), keras.ops.max(values, axis=axes), sample, means


def observe(folded: keras.Model, batches: Iterable[Array]) -> dict[str, Outputs]:
    """Return the outputs by layer name, on normalised photos (batch, height, width, 3).

    Raise DataError if there are no photos.
    """
    measures = [_Measure(name=f"{layer.name}.statistics")(layer.output) for layer in folded.layers]
    model = keras.Model(folded.input, measures)
    measured = [model.predict_on_batch(batch) for batch in batches]
    if not measured:
        raise DataError("no calibration photos; expected at least one batch")
    observed = {}
    for layer, *of_batches in zip(folded.layers, *measured, strict=True):
        columns = zip(*of_batches, strict=True)
        lows, highs, samples, means = (np.concatenate(parts) for parts in columns)
        low, high = float(lows.min()), float(highs.max())
        observed[layer.name] = Outputs(low, high, samples, means.mean(axis=0))
    return observed


def min_max(observed: Mapping[str, Outputs], recipe: InputRecipe) -> Ranges:
    """Return the lowest and highest output of each layer.

    The range of the input is that of all pixel values 0..255 under the recipe.
    """
    ends = recipe.normalise(np.array([[0] * 3, [255] * 3]))
    ranges = {name: (outputs.low, outputs.high) for name, outputs in observed.items()}
    return ranges | {"pixels": (float(ends.min()), float(ends.max()))}


def statistics_of(
    folded: keras.Model, observed: Mapping[str, Outputs], recipe: InputRecipe
) -> Statistics:
    """Return the statistics for a checkpoint; five digits are more than int8 can resolve."""
    read = {source_of(layer) for layer in folded.layers if isinstance(layer, WEIGHTED)}
    means = {name: [float(f"{mean:.5g}") for mean in observed[name].means] for name in sorted(read)}
    return Statistics(min_max(observed, recipe), means)


def source_of(layer: keras.Layer) -> str:
    """Return the name of the layer whose output `layer` reads."""
    return str(layer.input._keras_history.operation.name)
