"""Folding: batch normalisation becomes part of the weights before it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

_WEIGHTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
# Layers that do nothing when a model classifies. (RandomCrop crops then, too.)
TRAINING_ONLY = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.ActivityRegularization,
    keras.layers.Identity,
    keras.layers.AugMix,
    keras.layers.CutMix,
    keras.layers.MixUp,
    keras.layers.RandAugment,
    *(
        layer
        for name, layer in vars(keras.layers).items()
        if name.startswith("Random") and name != "RandomCrop"
    ),
)
# Activations that the engines' weighted kernels apply themselves. Any other activation is an
# operation with a range of its own.
_FUSED_ACTIVATIONS = (keras.activations.linear, keras.activations.relu, keras.activations.relu6)


def fold_batch_normalization(model: keras.Model) -> keras.Model:
    """Return a float32 model with the same scores, without batch normalisation and dropout.

    Layers keep their names, with two exceptions. The input is `pixels`. A weighted layer `NAME`
    with a softmax (or another activation that is an operation of its own) becomes `NAME_logits`
    and an activation `NAME`. A normalisation that follows no weighted layer becomes a depthwise
    convolution. Raise ValueError if a layer is a model.
    """
    plain = keras.Model(model.inputs[0], model.outputs[0])  # a Sequential, too; not compiled
    originals = {operation.name: operation for operation in plain.operations}
    originals |= {f"{name}_logits": layer for name, layer in originals.items()}
    weighted_by_output: dict[int, keras.Layer] = {}
    normalizations: dict[str, keras.Layer] = {}  # by the name of the layer that each is folded into

    def clone(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, keras.Model):
            raise ValueError(
                f"layer {layer.name!r} is a model itself: "
                "build on its .input and .output instead of calling it"
            )
        if not isinstance(layer, keras.Layer):  # an operation, such as the sum of two layers
            return layer
        config = layer.get_config() | {"dtype": "float32"}
        if isinstance(layer, _WEIGHTED):
            config["use_bias"] = True
            if layer.activation not in _FUSED_ACTIVATIONS:
                config |= {"activation": "linear", "name": f"{layer.name}_logits"}
        return type(layer).from_config(config)

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, TRAINING_ONLY):
            return args[0]
        if isinstance(layer, keras.layers.BatchNormalization) and id(args[0]) in weighted_by_output:
            normalizations[weighted_by_output[id(args[0])].name] = originals[layer.name]
            return args[0]
        if isinstance(layer, keras.layers.BatchNormalization) and len(args[0].shape) == 4:
            normalizations[layer.name] = originals[layer.name]
            return keras.layers.DepthwiseConv2D(1, name=layer.name)(args[0])
        output, original = layer(*args, **kwargs), originals[layer.name]
        if layer.name != original.name:
            return keras.layers.Activation(original.activation, name=original.name)(output)
        if isinstance(layer, _WEIGHTED) and layer.activation is keras.activations.linear:
            weighted_by_output[id(output)] = layer
        return output

    pixels = keras.Input(model.inputs[0].shape[1:], name="pixels")
    folded = keras.models.clone_model(
        plain, input_tensors=pixels, clone_function=clone, call_function=call
    )
    for layer in folded.layers:
        if isinstance(layer, _WEIGHTED):
            normalization = normalizations.get(layer.name)
            alone = normalization is originals[layer.name]
            if alone:
                kernel, *bias = [np.ones(layer.kernel.shape)]
            else:
                kernel, *bias = originals[layer.name].get_weights()
            weights = kernel, bias[0] if bias else np.zeros(layer.bias.shape)
            layer.set_weights(_fold(*weights, normalization) if normalization else weights)
        elif layer.weights:
            layer.set_weights(originals[layer.name].get_weights())
    return folded


def _fold(
    kernel: np.ndarray, bias: np.ndarray, normalization: keras.Layer
) -> tuple[np.ndarray, np.ndarray]:
    def value(weight: Any, missing: float) -> np.ndarray:
        if weight is None:
            return np.full(bias.shape, missing)
        return np.asarray(keras.ops.convert_to_numpy(weight), np.float64)

    scale = value(normalization.gamma, 1) / np.sqrt(
        value(normalization.moving_variance, 1) + normalization.epsilon
    )
    bias = value(normalization.beta, 0) + (bias - value(normalization.moving_mean, 0)) * scale
    if kernel.shape[-1] != len(scale):  # depthwise: (height, width, channels, multiplier)
        scale = scale.reshape(kernel.shape[-2:])
    return (kernel * scale).astype(np.float32), bias.astype(np.float32)
