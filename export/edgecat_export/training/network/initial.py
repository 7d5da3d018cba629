"""The network before any training."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from edgecat.errors import ModelError
from edgecat_export import checkpoint
from edgecat_export.networks.classifier import build_classifier, imagenet_network
from edgecat_export.training.network.known_classes import (
    KNOWN,
    groups_of,
    imagenet_head,
    with_known_classes,
)
from edgecat_export.training.options import Options


def initial_network(options: Options, labels: tuple[str, ...]) -> keras.Model:
    """Return the network to train: the same for the same seed and weights. Raise ModelError."""
    keras.utils.set_random_seed(options.seed)
    model = build_classifier(
        options.architecture, len(labels), options.size, options.alpha, options.weights
    )
    if options.starts_from_checkpoint:
        return _with_weights_of(Path(str(options.weights)), model, labels)
    original = original_network(options)
    if original is not None and groups_of(labels) is not None:
        model = with_known_classes(model, labels, *imagenet_head(original))
    return model


def original_network(options: Options) -> keras.Model | None:
    """Return the network with its head for ImageNet's classes.

    None if the run does not keep these classes, or if the file of weights lacks their head.
    """
    if not options.distill or not options.starts_from_imagenet:
        return None
    return imagenet_network(options.architecture, options.weights, options.size, options.alpha)


def _with_weights_of(path: Path, model: keras.Model, labels: tuple[str, ...]) -> keras.Model:
    """Return `model` with the weights of a checkpoint, its head included.

    The checkpoint may have been trained with a smaller input. Raise ModelError.
    """
    trained, card = checkpoint.load(path)
    if (card.architecture, card.labels) != (model.name, labels):
        raise ModelError(
            f"{path}: {card.architecture} for {', '.join(card.labels)}; "
            f"expected {model.name} for {', '.join(labels)}"
        )
    if any(layer.name == KNOWN for layer in trained.layers):
        channels = model.get_layer("dropout").input.shape[-1]
        model = with_known_classes(model, labels, np.zeros((channels, 1000)), np.zeros(1000))
    try:
        model.set_weights(trained.get_weights())
    except ValueError:
        raise ModelError(
            f"{path}: of another width; expected --alpha {card.training.get('alpha')}"
        ) from None
    return model
