"""Networks with the head of a classifier, built from the table of architectures."""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from pathlib import Path

import keras

from edgecat.errors import DataError, ModelError
from edgecat_export.architectures import Architecture, find_architecture

HEAD_DECAY = 2e-3  # times the squared weights of the last layer, added to the loss

Weights = str | Path | None  # "imagenet", a file of weights, or None for random ones


def build_classifier(
    name: str, labels: int, size: int, alpha: float | None, weights: Weights, dropout: float = 0.2
) -> keras.Model:
    """Return a classifier from (batch, size, size, 3) to probabilities (batch, labels).

    The input is normalised RGB in float32. With `weights`, batch normalisation stays in inference
    mode: the statistics of small batches would damage them. Raise ModelError, DataError.
    """
    architecture = find_architecture(name)
    if weights == "imagenet":
        base = download(name, size, alpha, top=False)
    elif weights is None or Path(weights).suffix == ".keras":
        base = architecture.network(size, alpha)
    else:
        base = _load_weights(architecture, Path(weights), size, alpha)
    if weights is not None:
        for layer in base.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    features = keras.layers.Dropout(dropout, name="dropout")(base.output)
    scores = keras.layers.Dense(
        labels,
        activation="softmax",
        kernel_regularizer=keras.regularizers.L2(HEAD_DECAY),
        name="scores",
    )(features)
    return keras.Model(base.input, scores, name=name)


def download(name: str, size: int, alpha: float | None, top: bool) -> keras.Model:
    """Return the network with ImageNet weights that Keras downloads, or a package holds.

    `top`: with its head for the 1,000 classes. Raise ModelError.
    """
    try:
        # Keras shows the progress of a download on stdout.
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            # Keras warns of a file that does not fit, in a hundred lines before the error.
            warnings.simplefilter("ignore")
            return find_architecture(name).network(size, alpha, "imagenet", top=top)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from None
    except Exception as error:  # a failed download is an Exception and no more
        of = f" and size {size}" if alpha is not None else f" with size {size}"
        width = "" if alpha is None else f" with alpha {alpha}"
        raise ModelError(
            f"no ImageNet weights of {name}{width}{of}: {str(error).strip().splitlines()[0]}; "
            "give a file with --weights FILE"
        ) from None


def imagenet_network(
    name: str, weights: Weights, size: int, alpha: float | None
) -> keras.Model | None:
    """Return the network with its head for ImageNet's 1,000 classes; None if `weights` lacks it."""
    if weights == "imagenet":
        return download(name, size, alpha, top=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a file without the head lacks
            return find_architecture(name).network(size, alpha, str(weights), top=True)
    except (ValueError, OSError, KeyError):
        return None


def freeze_all_but(model: keras.Model, blocks: int) -> None:
    """Freeze all layers but the last `blocks` blocks and the head. Raise ModelError."""
    pattern = re.compile(find_architecture(model.name).block)
    matches = [pattern.match(layer.name) for layer in model.layers]
    blocks_of = [match.group(1) if match else None for match in matches]
    names = list(dict.fromkeys(filter(None, blocks_of)))
    if blocks > len(names):
        raise ModelError(
            f"--fine-tune {blocks}: {model.name} has {len(names)} blocks; "
            "expected that many at most"
        )
    if blocks:
        first = blocks_of.index(names[-blocks])
    else:
        first = model.layers.index(model.get_layer("dropout"))
    for layer in model.layers[:first]:
        layer.trainable = False


def _load_weights(
    architecture: Architecture, file: Path, size: int, alpha: float | None
) -> keras.Model:
    """Return the network without its head, from a file with or without the head."""
    if not file.is_file():
        raise DataError(f"{file}: no such file; expected ImageNet weights as .h5 or .weights.h5")
    base = architecture.network(size, alpha)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a file without the head lacks
            whole = architecture.network(size, alpha, str(file), top=True)
    except (ValueError, OSError, KeyError):
        try:
            base.load_weights(file)
        except (ValueError, OSError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            width = "" if alpha is None else f" with alpha {alpha}"
            raise ModelError(
                f"{file}: not weights of this architecture{width} ({reason})"
            ) from None
        architecture.turn_to_rgb(base)
        return base
    for layer in base.layers:
        if layer.weights:
            layer.set_weights(whole.get_layer(layer.name).get_weights())
    return base
