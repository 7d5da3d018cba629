"""EfficientNet-Lite (Liu et al. 2020), made for int8.

It is EfficientNet without squeeze-and-excitation, with ReLU6.

The layers have the names of the published weights (google/tpu, Apache License 2.0).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import keras
from keras import layers

from edgecat.errors import ModelError
from edgecat_export.networks.torch_file import read_state_dict


class Stage(NamedTuple):
    """Inverted residual blocks (Sandler et al. 2018, arXiv 1801.04381) with the same kernel."""

    kernel: int
    blocks: int
    stride: int  # of the first block; 1 in the others
    channels: int
    expansion: int


# Table 1 of Tan and Le 2019, arXiv 1905.11946.
STAGES = (
    Stage(kernel=3, blocks=1, stride=1, channels=16, expansion=1),
    Stage(kernel=3, blocks=2, stride=2, channels=24, expansion=6),
    Stage(kernel=5, blocks=2, stride=2, channels=40, expansion=6),
    Stage(kernel=3, blocks=3, stride=2, channels=80, expansion=6),
    Stage(kernel=5, blocks=3, stride=1, channels=112, expansion=6),
    Stage(kernel=5, blocks=4, stride=2, channels=192, expansion=6),
    Stage(kernel=3, blocks=1, stride=1, channels=320, expansion=6),
)


def efficientnet_lite(
    input_shape: tuple[int, int, int],
    include_top: bool = True,
    weights: str | None = None,
    pooling: str = "avg",
    width: float = 1.0,
    depth: float = 1.0,
) -> keras.Model:
    """Return EfficientNet-Lite; the arguments are those of `keras.applications`.

    `width` scales the channels and `depth` the blocks of the stages. The stem and the last
    convolution keep their channels, the first and the last stage their blocks.
    """
    pixels = keras.Input(input_shape)
    maps = _activated(_conv(32, 3, 2, "stem_conv")(pixels), "stem_bn")
    for number, stage in enumerate(STAGES, start=1):
        blocks = stage.blocks if number in (1, 7) else math.ceil(stage.blocks * depth)
        channels = _multiple_of_8(stage.channels * width)
        for block in range(blocks):
            name = f"block{number}{chr(ord('a') + block)}_"
            stride = stage.stride if block == 0 else 1
            maps = _inverted_residual(maps, name, stage.kernel, stride, channels, stage.expansion)
    maps = _activated(_conv(1280, 1, 1, "top_conv")(maps), "top_bn")
    features = layers.GlobalAveragePooling2D(name="avg_pool")(maps)  # (batch, 1280)
    if weights is None and not include_top:
        return keras.Model(pixels, features)
    classes = layers.Dense(1000, activation="softmax", name="predictions")(features)
    model = keras.Model(pixels, classes)
    if weights is not None and Path(weights).suffix == ".pth":
        _load_pytorch(model, Path(weights))
    elif weights is not None:
        model.load_weights(weights)
    return model if include_top else keras.Model(pixels, features)


def _load_pytorch(model: keras.Model, path: Path) -> None:
    """Load the weights of the same network in PyTorch, whose layers have the same order."""
    tensors = [
        tensor for name, tensor in read_state_dict(path).items() if "num_batches" not in name
    ]
    weights = []
    for wanted, tensor in zip(model.get_weights(), tensors, strict=False):
        if tensor.ndim == 4:  # (filters, channels, height, width)
            depthwise = wanted.shape[-1] == 1
            weights.append(tensor.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)))
        else:
            weights.append(tensor.T)
    if [value.shape for value in weights] != [value.shape for value in model.get_weights()]:
        raise ModelError(f"{path}: weights of another network; expected EfficientNet-Lite's")
    model.set_weights(weights)


def _inverted_residual(
    inputs: Any, name: str, kernel: int, stride: int, channels: int, expansion: int
) -> Any:
    maps = inputs
    if expansion != 1:
        expand = _conv(inputs.shape[-1] * expansion, 1, 1, f"{name}expand_conv")
        maps = _activated(expand(maps), f"{name}expand_bn")
    depthwise = layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, name=f"{name}dwconv"
    )
    maps = _activated(depthwise(maps), f"{name}bn")
    maps = _conv(channels, 1, 1, f"{name}project_conv")(maps)
    maps = _normalised(maps, f"{name}project_bn")
    if stride == 1 and inputs.shape[-1] == channels:
        return layers.Add(name=f"{name}add")([maps, inputs])
    return maps


def _conv(filters: int, kernel: int, stride: int, name: str) -> Any:
    return layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)


def _normalised(maps: Any, name: str) -> Any:
    return layers.BatchNormalization(epsilon=1e-3, name=name)(maps)


def _activated(maps: Any, name: str) -> Any:
    return layers.ReLU(6, name=f"{name}_relu")(_normalised(maps, name))


def _multiple_of_8(channels: float) -> int:
    """Round to a multiple of 8, but down by 10 % at most."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
