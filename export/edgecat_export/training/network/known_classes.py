"""A head that keeps ImageNet's classes.

It is for labels that are groups of these classes (`cat`, `dog`, `neither`). A label's logit is the
sum of a logit learnt from the photos and of the best ImageNet logit in its group. So an animal
that no training photo shows, such as a zebra, stays nearer to `neither` than to `dog`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from edgecat.labels import imagenet_classes, imagenet_groups

SHARE = 0.5  # of the ImageNet logits in those of the labels
RANK = 192  # of the ImageNet kernel: a third of its weights, and as right as with all
KNOWN = "known"  # the names of the layers begin with it

Array = npt.NDArray[Any]


def groups_of(labels: Sequence[str]) -> dict[str, list[int]] | None:
    """Return label -> places of its classes in ImageNet's; None if a label is no group of them."""
    groups = imagenet_groups()
    label_of = [groups[known.name] for known in imagenet_classes()]
    places = {label: [i for i, of in enumerate(label_of) if of == label] for label in labels}
    return places if all(places.values()) else None


def imagenet_head(network: keras.Model) -> tuple[Array, Array]:
    """Return the kernel (channels, 1000) and the bias (1000,) of a network for ImageNet."""
    kernel, bias = [layer for layer in network.layers if layer.weights][-1].get_weights()
    return kernel.reshape(-1, bias.size), bias  # MobileNet's is a 1x1 convolution


def with_known_classes(
    model: keras.Model, labels: Sequence[str], kernel: Array, bias: Array
) -> keras.Model:
    """Return `model` with the best ImageNet logit of each label's group added to its logits.

    `model` ends in the layers `dropout` and `scores`. `kernel`, (channels, 1000), and `bias`,
    (1000,), are those of the ImageNet head; they are not trained. Raise ValueError.
    """
    places = groups_of(labels)
    if places is None:
        raise ValueError(f"{', '.join(labels)}: not all are groups of ImageNet's classes")
    features, scores = model.get_layer("dropout").input, model.get_layer("scores")
    left, sizes, right = np.linalg.svd(kernel, full_matrices=False)
    rank = min(RANK, len(sizes))
    factors = keras.layers.Dense(rank, use_bias=False, name=KNOWN, trainable=False)
    projected = factors(features)
    factors.set_weights([left[:, :rank] * sizes[:rank]])
    best = []
    for label, members in places.items():
        name = f"{KNOWN}_{label}"
        classes = keras.layers.Dense(len(members), name=name, trainable=False)
        logits = classes(projected)
        classes.set_weights([SHARE * right[:rank, members], SHARE * bias[members]])
        column = keras.layers.Reshape((len(members), 1, 1), name=f"{name}_column")(logits)
        highest = keras.layers.MaxPooling2D((len(members), 1), name=f"{name}_best")(column)
        best.append(keras.layers.Flatten(name=f"{name}_logit")(highest))
    scores.activation = keras.activations.linear
    learnt = scores(model.get_layer("dropout").output)
    known = keras.layers.Concatenate(name=f"{KNOWN}_all")(best)
    logits = keras.layers.Add(name="logits")([learnt, known])
    probabilities = keras.layers.Softmax(name="probabilities")(logits)
    return keras.Model(model.input, probabilities, name=model.name)


def logit_layers(model: keras.Model) -> list[keras.Layer]:
    """Return the layers whose weights are all proportional to the logits."""
    return [
        layer
        for layer in model.layers
        if layer.name == "scores" or (layer.name.startswith(f"{KNOWN}_") and layer.weights)
    ]
