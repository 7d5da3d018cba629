"""Calibration: what every layer of a folded model puts out on photos, and what int8 makes of it: ranges, corrected biases, noise."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from edgecat.card import InputRecipe
from edgecat.errors import DataError
from edgecat_export.names import Ranges, Statistics

SAMPLE = 1000  # values kept of each photo and layer: all logits of an ImageNet model
STEPS = 255  # between the lowest and the highest of 256 integers
WEIGHTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)

Array = npt.NDArray[np.float32]


class Outputs(NamedTuple):
    """What one layer put out on all photos."""

    low: float
    high: float
    sample: Array  # (photos, SAMPLE or fewer), evenly spaced over each photo's values
    means: Array  # (channels,)


class _Statistics(keras.layers.Layer):  # type: ignore[misc]
    """`Outputs` of each photo; a layer, since it needs a name that no layer of the model has."""

    def call(self, values: Any) -> tuple[Any, Any, Any, Any]:
        axes = tuple(range(1, len(values.shape)))
        count = int(np.prod(values.shape[1:]))
        sample = keras.ops.reshape(values, (-1, count))[
            :, :: -(-count // SAMPLE) | 1
        ]  # an odd stride comes by all channels
        means = keras.ops.mean(values, axis=axes[:-1]) if axes[:-1] else values
        return keras.ops.min(values, axis=axes), keras.ops.max(values, axis=axes), sample, means


def observe(folded: keras.Model, batches: Iterable[Array]) -> dict[str, Outputs]:
    """Run normalised photos (batch, height, width, 3) through a folded model; by layer. Raises DataError."""
    model = keras.Model(
        folded.input,
        [_Statistics(name=f"{layer.name}.statistics")(layer.output) for layer in folded.layers],
    )
    measured = [model.predict_on_batch(batch) for batch in batches]
    if not measured:
        raise DataError("no calibration photos; expected at least one batch")
    observed = {}
    for layer, *of_batches in zip(folded.layers, *measured, strict=True):
        lows, highs, samples, means = (
            np.concatenate(parts) for parts in zip(*of_batches, strict=True)
        )
        observed[layer.name] = Outputs(
            float(lows.min()), float(highs.max()), samples, means.mean(axis=0)
        )
    return observed


def min_max(observed: Mapping[str, Outputs], recipe: InputRecipe) -> Ranges:
    """Each layer's range is all that it put out; the input's is what the recipe makes of 0..255, so that an int8 input holds every pixel value."""
    extent = recipe.normalise(np.array([[0] * 3, [255] * 3]))
    return {name: (outputs.low, outputs.high) for name, outputs in observed.items()} | {
        "pixels": (float(extent.min()), float(extent.max()))
    }


def statistics(
    folded: keras.Model, observed: Mapping[str, Outputs], recipe: InputRecipe
) -> Statistics:
    """For a checkpoint: five digits are more than int8 can tell apart."""
    read = {_source(layer) for layer in folded.layers if isinstance(layer, WEIGHTED)}
    return Statistics(
        min_max(observed, recipe),
        {name: [float(f"{mean:.5g}") for mean in observed[name].means] for name in sorted(read)},
    )


def least_squares(ranges: Ranges, observed: Mapping[str, Outputs]) -> Ranges:
    """Ranges that may cut off rare values where finer steps for all others make the squared error smaller."""
    shrunk = {}
    for name, outputs in observed.items():
        values = outputs.sample.reshape(-1)
        values = values[:: max(1, len(values) // 50_000)]

        def error(low: float, high: float, values: Array = values) -> float:
            return float(np.square(quantised(values, low, high) - values).mean())

        low, high = ranges[name]
        for _ in range(2):  # either end in turn
            high = min(
                (high * part for part in np.linspace(1, 0.2, 33)), key=lambda high: error(low, high)
            )
            low = min(
                (low * part for part in np.linspace(1, 0.2, 33)), key=lambda low: error(low, high)
            )
        shrunk[name] = (float(low), float(high))
    return ranges | shrunk | {"pixels": ranges["pixels"]}


def entropy(ranges: Ranges, observed: Mapping[str, Outputs], folded: keras.Model) -> Ranges:
    """The range of the logits that changes the probabilities least (by relative entropy), which forgets logits far below the best."""
    logits = [
        layer.name
        for layer in folded.layers
        if layer.name.endswith("_logits") or _before_softmax(folded, layer)
    ]
    values = observed[logits[-1]].sample if logits else np.zeros((0, 0), np.float32)
    if not values.size:
        return ranges
    wanted = _softmax(values)
    low, high = ranges[logits[-1]]

    def divergence(ends: tuple[float, float]) -> float:
        return float(
            (wanted * (np.log(wanted + 1e-9) - np.log(_softmax(quantised(values, *ends)) + 1e-9)))
            .sum(axis=1)
            .mean()
        )

    ends = [
        (min(low * low_part, 0.0), high * high_part)
        for low_part in np.linspace(1, 0, 21)
        for high_part in np.linspace(1, 0.6, 9)
    ]
    best = min(ends, key=divergence)
    return ranges | dict.fromkeys(logits, best)


def _before_softmax(folded: keras.Model, layer: keras.Layer) -> bool:
    """Whether only reshaping comes between the layer and the scores."""
    count = int(np.prod(folded.output.shape[1:]))
    after = folded.layers[folded.layers.index(layer) + 1 :]
    moves = (
        keras.layers.Reshape,
        keras.layers.Flatten,
        keras.layers.Activation,
        keras.layers.Softmax,
    )
    return (
        bool(after)
        and int(np.prod(layer.output.shape[1:])) == count
        and all(isinstance(later, moves) for later in after)
    )


def quantised(values: Array, low: float, high: float) -> Array:
    """`values` as a tensor of 256 steps from `low` to `high` holds them; zero is one of the steps."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / STEPS or 1.0)
    zero_point = np.rint(-low / scale)
    result: Array = (np.clip(np.rint(values / scale) + zero_point, 0, STEPS) - zero_point) * scale
    return result


def _softmax(values: Array) -> Array:
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    result: Array = raised / raised.sum(axis=1, keepdims=True)
    return result


def quantised_kernel(layer: keras.Layer) -> Array:
    """The kernel of a weighted layer as int8 with one scale a channel holds it."""
    kernel = np.asarray(keras.ops.convert_to_numpy(layer.kernel))
    axes = (
        (0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else tuple(range(kernel.ndim - 1))
    )
    scale = (
        np.maximum(np.abs(kernel).max(axis=axes, keepdims=True), np.abs(kernel).max() * 1e-6) / 127
    )
    result: Array = np.clip(np.rint(kernel / scale), -127, 127) * scale
    return result


def _source(layer: keras.Layer) -> str:
    """The layer whose output this one reads."""
    return str(layer.input._keras_history.operation.name)


def correct_biases(
    folded: keras.Model, means_of: Mapping[str, Sequence[float] | Array], but: Collection[str] = ()
) -> keras.Model:
    """A copy whose biases make up for what rounding the weights shifts each channel's mean output by, `but` for those layers, which are not rounded.

    `means_of` are the (channels,) means on the calibration photos of each layer's output that is read by one with weights.
    Nagel et al. 2019, arXiv 1906.04721, section 4.2.
    """
    corrected = keras.models.clone_model(folded)
    corrected.set_weights(folded.get_weights())
    for layer in corrected.layers:
        if not isinstance(layer, WEIGHTED) or layer.name in but:
            continue
        means = np.asarray(means_of[_source(folded.get_layer(layer.name))])
        kernel, bias = layer.get_weights()
        change = quantised_kernel(layer) - kernel
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            shift = (change.sum(axis=(0, 1)) * means[:, None]).reshape(-1)
        else:
            shift = means.reshape(-1) @ change.sum(axis=tuple(range(change.ndim - 2)))
        layer.set_weights([kernel, (bias - shift).astype(np.float32)])
    return corrected


@dataclass(frozen=True)
class Strategy:
    """How ranges are chosen for int8."""

    says: str
    ranges_by_least_squares: bool = False
    logits_by_entropy: bool = False

    def ranges(
        self, folded: keras.Model, observed: Mapping[str, Outputs], recipe: InputRecipe
    ) -> Ranges:
        ranges = min_max(observed, recipe)
        if self.ranges_by_least_squares:
            ranges = least_squares(ranges, observed)
        if self.logits_by_entropy:
            ranges = entropy(ranges, observed, folded)
        return ranges


# Tried in this order until one passes verification.
STRATEGIES = (
    Strategy("min/max ranges"),
    Strategy("the logits' range by entropy", logits_by_entropy=True),
    Strategy(
        "the logits' range by entropy, all others by least squares",
        ranges_by_least_squares=True,
        logits_by_entropy=True,
    ),
)
