"""Bias correction (Nagel et al. 2019, arXiv 1906.04721, section 4.2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import keras
import numpy as np

from edgecat_export.quantisation.observation import WEIGHTED, Array, source_of
from edgecat_export.quantisation.rounding import rounded_kernel


def correct_biases(
    folded: keras.Model,
    means_of: Mapping[str, Sequence[float] | Array],
    float_layers: Collection[str] = (),
) -> keras.Model:
    """Return a copy whose biases undo the shift of each channel's mean by rounding the weights.

    `means_of` has the mean (channels,) on the calibration photos of every layer that a weighted
    layer reads. `float_layers` are not rounded, so their biases stay.
    """
    corrected = keras.models.clone_model(folded)
    corrected.set_weights(folded.get_weights())
    for layer in corrected.layers:
        if not isinstance(layer, WEIGHTED) or layer.name in float_layers:
            continue
        means = np.asarray(means_of[source_of(folded.get_layer(layer.name))])
        kernel, bias = layer.get_weights()
        change = rounded_kernel(layer) - kernel
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            shift = (change.sum(axis=(0, 1)) * means[:, None]).reshape(-1)
        else:
            shift = means.reshape(-1) @ change.sum(axis=tuple(range(change.ndim - 2)))
        layer.set_weights([kernel, (bias - shift).astype(np.float32)])
    return corrected
