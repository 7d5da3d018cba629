"""Rounding: what int8 makes of float32 values."""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt

STEPS = 255  # between the lowest and the highest of 256 integers

Array = npt.NDArray[np.float32]


def rounded(values: Array, low: float, high: float) -> Array:
    """Return `values` rounded and clipped to 256 steps from `low` to `high`, 0 among them."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / STEPS or 1.0)
    zero_point = np.rint(-low / scale)
    result: Array = (np.clip(np.rint(values / scale) + zero_point, 0, STEPS) - zero_point) * scale
    return result


def rounded_kernel(layer: keras.Layer) -> Array:
    """Return the kernel of a weighted layer as int8 with one scale a channel represents it."""
    kernel = np.asarray(keras.ops.convert_to_numpy(layer.kernel))
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    axes = (0, 1) if depthwise else tuple(range(kernel.ndim - 1))
    largest = np.abs(kernel).max(axis=axes, keepdims=True)
    scale = np.maximum(largest, np.abs(kernel).max() * 1e-6) / 127
    result: Array = np.clip(np.rint(kernel / scale), -127, 127) * scale
    return result
