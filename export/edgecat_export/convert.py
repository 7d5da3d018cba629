"""A Keras model becomes a float TFLite or ONNX file whose tensors can be traced back to Keras layers."""

import functools
import logging
import re
from collections.abc import Callable

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from edgecat.errors import ExportError

ONNX_OPSET = 17  # one below the newest that tf2onnx 1.17 is tested with

# Keras opens a layer's name scope twice, so that TensorFlow calls it NAME_1, which may be the name of another layer. With a
# dot at the end of the name, NAME._1 is this layer only.
_LAYER_IN_TENSOR = re.compile(r"([^/;]+)\._\d+/")
_MOVED_BIAS = re.compile(r"[^;]*?([^/;]+)\._\d+/BiasAdd;(.*/MatMul.*)")


def layer_of_tensor(name: str) -> str | None:
    """The folded Keras layer that makes a tensor of this name in a file from `to_tflite`, None if none does.

    Where the converter fused several layers it joined their names, the last layer's first. Where
    it moved a bias behind the next product, the bias comes first, and the product makes the tensor.
    """
    found = _LAYER_IN_TENSOR.search(name)
    moved = _MOVED_BIAS.match(name)
    if moved and f"{moved[1]}._" not in moved[2]:
        found = _LAYER_IN_TENSOR.search(moved[2])
    return found[1] if found else None


def _traceable(
    folded: keras.Model, batch: int | None
) -> tuple[keras.Model, tf.types.experimental.GenericFunction, tf.TensorSpec]:
    def clone(layer: keras.Layer) -> keras.Layer:
        if not isinstance(layer, keras.Layer):  # an operation, such as the sum of two layers
            return layer
        return type(layer).from_config(layer.get_config() | {"name": f"{layer.name}."})

    model = keras.models.clone_model(folded, clone_function=clone)
    model.name = (
        "model"  # not the one that counts the models of this process: equal models give equal bytes
    )
    model.set_weights(folded.get_weights())
    pixels = tf.TensorSpec((batch, *folded.input.shape[1:]), tf.float32, name="pixels")
    return model, tf.function(lambda pixels: {"scores": model(pixels, training=False)}), pixels


def _naming_the_layer(
    to_float: Callable[[keras.Model, str], bytes],
) -> Callable[[keras.Model, str], bytes]:
    """Raises ExportError that names the layer which cannot be converted: none of the converters does."""

    @functools.wraps(to_float)
    def named(folded: keras.Model, precision: str) -> bytes:
        try:
            return to_float(folded, precision)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # converters raise all kinds
            first, last = (
                1,
                len(folded.operations) - 1,
            )  # behind the input; the model up to `last` fails
            while first < last:
                middle = (first + last) // 2
                try:
                    to_float(keras.Model(folded.input, folded.operations[middle].output), precision)
                    first = middle + 1
                except Exception:
                    last = middle
            layer = folded.operations[last]
            reason = str(error).strip().splitlines()[0].split("error: ")[-1]
            raise ExportError(
                f"layer '{layer.name}' ({type(layer).__name__}) cannot be converted by {to_float.__name__} ({reason}); build the model without it"
            ) from None

    return named


@_naming_the_layer
def to_tflite(folded: keras.Model, precision: str) -> bytes:
    """A `.tflite` of batch 1 and built-in operations only; input and output are float32 in either precision."""
    model, function, pixels = _traceable(folded, batch=1)
    holder = tf.Module()
    holder.variables_of_model = [
        variable.value for variable in model.variables
    ]  # the converter freezes what it can track
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function(pixels)], holder
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision == "fp16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())


@_naming_the_layer
def to_onnx(folded: keras.Model, precision: str) -> bytes:
    """An `.onnx` of any batch size; input `pixels` (batch, height, width, 3) and output `scores` are float32 in either precision."""
    _, function, pixels = _traceable(folded, batch=None)
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    model, _ = tf2onnx.convert.from_function(function, [pixels], opset=ONNX_OPSET)
    _name_by_layer(model)
    if precision == "fp16":
        _store_weights_as_float16(model)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _name_by_layer(model: onnx.ModelProto) -> None:
    """Name nodes and tensors LAYER/OPERATION: tf2onnx leaves layers out and numbers on from one conversion to the next."""
    graph = model.graph
    graph.name, graph.doc_string = "edgecat", ""
    names = {"": ""} | {
        value.name: value.name for value in (*graph.input, *graph.output)
    }  # no name: an optional input or output left out
    constants = {constant.name for constant in graph.initializer}
    taken: set[str] = set()
    for node in graph.node:
        layers = map(
            layer_of_tensor, (node.output[0], *filter(constants.__contains__, reversed(node.input)))
        )
        name = base = f"{next(filter(None, layers), graph.name)}/{node.op_type}"
        while name in taken:
            name = f"{base}_{len(taken)}"
        taken.add(name)
        for number, output in enumerate(node.output):
            names.setdefault(output, name if number == 0 else f"{name}.{number}")
        for number, tensor in enumerate(
            node.input
        ):  # what no node before this one made is a constant
            names.setdefault(tensor, f"{name}:{number}")
        node.name = name
        node.input[:] = [names[tensor] for tensor in node.input]
        node.output[:] = [names[tensor] for tensor in node.output]
    for constant in graph.initializer:
        constant.name = names[constant.name]
    graph.initializer.sort(key=lambda constant: constant.name)
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def _store_weights_as_float16(model: onnx.ModelProto) -> None:
    """Half the size for the same speed: ONNX Runtime folds each Cast into float32 weights when it opens the file.

    Arithmetic in float16, for which most CPUs have no kernels, was slower.
    """
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims:
            name, values = tensor.name, onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_fp16"))
            casts.append(
                onnx.helper.make_node(
                    "Cast", [tensor.name], [name], name=f"{name}_cast", to=onnx.TensorProto.FLOAT
                )
            )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
