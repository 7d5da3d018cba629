"""The architectures that edgecat trains: functions from a shape to a Keras model."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras

from edgecat.errors import DataError, ModelError
from edgecat_export.names import unknown_architecture

Weights = str | Path | None  # "imagenet", a file of weights, or None for random ones


class Architecture(NamedTuple):
    build: Callable[..., keras.Model]
    alpha: float  # width of the layers
    size: int  # pixels
    block: str  # what the names of a block's layers have in common, and no other block's


# MobileNet (Howard et al. 2017, arXiv 1704.04861) and MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381).
ARCHITECTURES = {
    "mobilenet": Architecture(keras.applications.MobileNet, alpha=0.5, size=160, block=r"conv_[dp]w_(\d+)"),
    "mobilenet_v2": Architecture(keras.applications.MobileNetV2, alpha=1.0, size=224, block=r"(block_\d+|Conv_1)"),
}


def find_architecture(name: str) -> Architecture:
    """Raises ModelError that offers the nearest name."""
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise unknown_architecture(name, list(ARCHITECTURES)) from None


def build_classifier(name: str, labels: int, size: int, alpha: float, weights: Weights, dropout: float = 0.2) -> keras.Model:
    """(batch, size, size, 3) float32, normalised -> (batch, labels) probabilities.

    Batch normalisation stays in inference mode when the weights were learnt before: the statistics
    of small batches would tear them apart. Raises ModelError, DataError.
    """
    build = find_architecture(name).build
    shape = (size, size, 3)
    if weights is None or weights == "imagenet" or Path(weights).suffix == ".keras":
        base = build(input_shape=shape, alpha=alpha, include_top=False, weights="imagenet" if weights == "imagenet" else None, pooling="avg")
    else:
        base = _load_weights(build, Path(weights), shape, alpha)
    if weights is not None:
        for layer in base.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    features = keras.layers.Dropout(dropout, name="dropout")(base.output)
    scores = keras.layers.Dense(labels, activation="softmax", name="scores")(features)
    return keras.Model(base.input, scores, name=name)


def freeze_all_but(model: keras.Model, blocks: int) -> None:
    """Leave only the last `blocks` blocks of the network, and its head, to be trained. Raises ModelError."""
    blocks_of = [match.group(1) if (match := re.match(find_architecture(model.name).block, layer.name)) else None for layer in model.layers]
    names = list(dict.fromkeys(filter(None, blocks_of)))
    if blocks > len(names):
        raise ModelError(f"--fine-tune {blocks}: {model.name} has {len(names)} blocks; expected that many at most")
    first = blocks_of.index(names[-blocks]) if blocks else model.layers.index(model.get_layer("dropout"))
    for layer in model.layers[:first]:
        layer.trainable = False


def _load_weights(build: Callable[..., keras.Model], file: Path, shape: tuple[int, int, int], alpha: float) -> keras.Model:
    """The network without its head, from a file of the whole network or of just this part."""
    if not file.is_file():
        raise DataError(f"{file}: no such file; expected ImageNet weights as .h5 or .weights.h5")
    base = build(input_shape=shape, alpha=alpha, include_top=False, weights=None, pooling="avg")
    try:
        whole = build(input_shape=shape, alpha=alpha, include_top=True, weights=str(file))
    except (ValueError, OSError, KeyError):
        try:
            base.load_weights(file)
        except (ValueError, OSError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"{file}: not weights of this architecture with alpha {alpha} ({reason})") from None
        return base
    for layer in base.layers:
        if layer.weights:
            layer.set_weights(whole.get_layer(layer.name).get_weights())
    return base
