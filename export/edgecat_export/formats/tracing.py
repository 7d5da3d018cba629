"""A Keras model is traced for a converter, and the tensors of its file back to Keras layers."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import keras
import tensorflow as tf

from edgecat.errors import ExportError

# Keras opens a layer's name scope twice, so TensorFlow calls it NAME_1, which may be the name of
# another layer. With a dot at the end of the name, NAME._1 is this layer only.
_LAYER_IN_TENSOR = re.compile(r"([^/;]+)\._\d+/")
_MOVED_BIAS = re.compile(r"[^;]*?([^/;]+)\._\d+/BiasAdd;(.*/MatMul.*)")

Convert = Callable[[keras.Model, str], bytes]  # a folded model and a float precision


def layer_of_tensor(name: str) -> str | None:
    """Return the folded Keras layer that makes a tensor of this name; None if none does.

    Where the converter fused several layers it joined their names, the last layer's first. Where
    it moved a bias behind the next product, the bias comes first, and the product makes the tensor.
    """
    match = _LAYER_IN_TENSOR.search(name)
    moved = _MOVED_BIAS.match(name)
    if moved and f"{moved[1]}._" not in moved[2]:
        match = _LAYER_IN_TENSOR.search(moved[2])
    return match[1] if match else None


def traceable(
    folded: keras.Model, batch: int | None
) -> tuple[keras.Model, tf.types.experimental.GenericFunction, tf.TensorSpec]:
    """Return a copy whose tensors `layer_of_tensor` knows, its function and its input."""

    def clone(layer: keras.Layer) -> keras.Layer:
        if not isinstance(layer, keras.Layer):  # an operation, such as the sum of two layers
            return layer
        return type(layer).from_config(layer.get_config() | {"name": f"{layer.name}."})

    model = keras.models.clone_model(folded, clone_function=clone)
    # Keras numbers the models of a process; equal models must give equal bytes.
    model.name = "model"
    model.set_weights(folded.get_weights())
    pixels = tf.TensorSpec((batch, *folded.input.shape[1:]), tf.float32, name="pixels")
    return model, tf.function(lambda pixels: {"scores": model(pixels, training=False)}), pixels


def naming_the_layer(converter: str) -> Callable[[Convert], Convert]:
    """Decorate a conversion to raise ExportError that names the layer at fault."""

    def decorate(convert: Convert) -> Convert:
        @functools.wraps(convert)
        def named(folded: keras.Model, precision: str) -> bytes:
            try:
                return convert(folded, precision)
            except (OSError, MemoryError):
                raise
            except Exception as error:  # converters raise all kinds
                layer = _first_failing(convert, folded, precision)
                reason = str(error).strip().splitlines()[0].split("error: ")[-1]
                raise ExportError(
                    f"layer '{layer.name}' ({type(layer).__name__}) cannot be converted by "
                    f"{converter} ({reason}); build the model without it"
                ) from None

        return named

    return decorate


def _first_failing(convert: Convert, folded: keras.Model, precision: str) -> keras.Layer:
    """Return the first layer up to which the model cannot be converted, by bisection."""
    first, last = 1, len(folded.operations) - 1  # behind the input; the whole model fails
    while first < last:
        middle = (first + last) // 2
        try:
            convert(keras.Model(folded.input, folded.operations[middle].output), precision)
            first = middle + 1
        except Exception:
            last = middle
    return folded.operations[last]
