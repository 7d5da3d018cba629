"""Distillation: fine-tuning that keeps ImageNet's classes (learning without forgetting).

Li and Hoiem 2016, arXiv 1606.09282: besides learning the new labels, the network has to answer
like the original one on ImageNet's 1,000 classes. Otherwise it forgets that a Samoyed is a dog.
"""

from __future__ import annotations

from typing import Any

import keras

from edgecat_export.training.network.known_classes import imagenet_head

DRIFT = "drift"  # the name of the output that measures how far the network has moved


def with_drift(model: keras.Model, original: keras.Model) -> keras.Model:
    """Return a model that shares the layers of `model` and has a second output, `DRIFT`.

    `model` ends in the layers `dropout` and `scores`; `original` is the same network with its
    ImageNet weights and head. `DRIFT`, (batch, 1), is the Kullback-Leibler divergence between
    the ImageNet classes of `original` and those that the features of `model` give. The first
    layers are computed once for both where they are frozen in `model`.
    """
    features = model.get_layer("dropout").input
    kernel, bias = imagenet_head(original)
    classes = keras.layers.Dense(bias.size, name="imagenet_logits", trainable=False)
    logits = classes(features)
    classes.set_weights([kernel, bias])

    start = _first_trainable(model)
    teacher = keras.Model(
        original.input if start is None else original.get_layer(start.name).input,
        _features_of(original, features.shape[-1]),
        name="original",
    )
    teacher.trainable = False
    for layer in original.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0  # MobileNet has one before its head: the target must not be random
    target = classes(teacher(model.input if start is None else start.input))

    known = keras.ops.log_softmax(target)
    moved = keras.ops.log_softmax(logits)
    drift = keras.ops.sum(keras.ops.exp(known) * (known - moved), axis=-1, keepdims=True)
    return keras.Model(model.input, {"scores": model.output, DRIFT: drift})


def _first_trainable(model: keras.Model) -> Any:
    """Return the first layer that learns if frozen ones come before it, else None."""
    weighted = [layer for layer in model.layers if layer.weights]
    normalisation = keras.layers.BatchNormalization
    learning = [
        layer for layer in weighted if layer.trainable and not isinstance(layer, normalisation)
    ]
    return None if learning[0] is weighted[0] else learning[0]


def _features_of(original: keras.Model, channels: int) -> Any:
    """Return the input of the head, (batch, channels)."""
    features = [layer for layer in original.layers if layer.weights][-1].input
    return features if features.shape[1:] == (channels,) else keras.layers.Flatten()(features)
