"""The noise that int8 adds in each layer, as signal-to-noise ratios in decibels.

With 10 dB more, the noise is a tenth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from edgecat_export.quantisation.observation import WEIGHTED, Array, Outputs
from edgecat_export.quantisation.rounding import rounded, rounded_kernel
from edgecat_export.quantisation.statistics import Ranges


class _Power(keras.layers.Layer):  # type: ignore[misc]
    """Return the sums of squares of a signal and of its difference to another, per photo."""

    def call(self, pair: Any) -> tuple[Any, Any]:
        signal, other = pair
        axes = tuple(range(1, len(signal.shape)))
        power = keras.ops.sum(keras.ops.square(signal), axis=axes)
        return power, keras.ops.sum(keras.ops.square(other - signal), axis=axes)


def layer_noise(
    folded: keras.Model, observed: Mapping[str, Outputs], ranges: Ranges, photos: Array
) -> dict[str, float]:
    """Return the ratio of each weighted layer if it alone were int8, the worst first.

    Both its weights and its output are rounded. `photos` are normalised,
    (photos, height, width, 3).
    """
    weighted = [layer for layer in folded.layers if isinstance(layer, WEIGHTED)]
    powers = []
    for layer in weighted:
        int8 = type(layer).from_config(layer.get_config() | {"name": f"{layer.name}.int8"})
        powers.append(_Power(name=f"{layer.name}.power")([layer.output, int8(layer.input)]))
        int8.set_weights([rounded_kernel(layer), layer.get_weights()[1]])
    measured = keras.Model(folded.input, powers).predict(photos, batch_size=16, verbose=0)
    ratios = {}
    for layer, (signal, noise) in zip(weighted, measured, strict=True):
        of_weights = float(noise.sum() / max(signal.sum(), 1e-20))
        output = output_layer(layer)
        values = observed[output].sample
        error = np.square(rounded(values, *ranges[output]) - values).mean()
        of_output = float(error / max(float(np.square(values).mean()), 1e-20))
        ratios[layer.name] = decibels(of_weights + of_output)
    return dict(sorted(ratios.items(), key=lambda item: item[1]))


def output_layer(layer: keras.Layer) -> str:
    """Return the name of the activation that is fused into a weighted layer, or its own."""
    after = [node.operation for node in layer._outbound_nodes]
    fused = len(after) == 1 and isinstance(after[0], keras.layers.ReLU)
    return str(after[0].name if fused else layer.name)


def decibels(noise_to_signal: float) -> float:
    return round(-10 * float(np.log10(noise_to_signal + 1e-12)), 1)
