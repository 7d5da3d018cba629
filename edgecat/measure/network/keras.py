"""Read the network of a .keras file from its configuration; Keras itself is not needed.

The configuration holds the shape of what each layer reads.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from edgecat.errors import ModelError
from edgecat.measure.network.network import Network, Shape, TensorInfo, single_photo

_Layer: TypeAlias = "Mapping[str, Any]"


def read_keras(path: Path) -> Network:
    """Return the network of a functional model. Raise ModelError for other Keras models."""
    with zipfile.ZipFile(path) as archive:
        model = json.loads(archive.read("config.json"))
        weights_bytes = archive.getinfo("model.weights.h5").file_size
    if model["class_name"] != "Functional":
        raise ModelError(
            f"{path}: a Keras model of class {model['class_name']}; "
            "only functional models can be looked into"
        )
    config = model["config"]
    layers: dict[str, _Layer] = {layer["config"]["name"]: layer for layer in config["layers"]}
    inputs, outputs = (_end_names(config[key]) for key in ("input_layers", "output_layers"))
    shapes = _output_shapes(layers, outputs)
    dtypes = {
        name: layer["config"]["dtype"]
        for name, layer in layers.items()
        if layer["class_name"] == "InputLayer"
    }
    operations = Counter(
        layer["class_name"] for name, layer in layers.items() if name not in dtypes
    )
    return Network(
        tuple(TensorInfo(name, shapes[name], dtypes[name]) for name in inputs),
        tuple(TensorInfo(name, shapes[name], "float32") for name in outputs),
        dict(operations.most_common()),
        weights_bytes,
        _macs(layers, shapes),
    )


def _end_names(ends: list[Any]) -> list[str]:
    """Return layer names of [name, node, tensor], or of a list of these."""
    single = isinstance(ends[0], str)
    return [name for name, *_ in ([ends] if single else ends)]


def _output_shapes(layers: Mapping[str, _Layer], outputs: list[str]) -> dict[str, Shape]:
    """Return the shape of each layer's output: what the next layer reads."""
    shapes: dict[str, Shape] = {}
    for layer in layers.values():
        for tensor in _input_tensors(layer["inbound_nodes"]):
            shapes[tensor["keras_history"][0]] = _shape(tensor["shape"])
    for name in outputs:
        shapes[name] = _last_output(layers[name])
    return shapes


def _input_tensors(node: Any) -> Iterator[_Layer]:
    """Yield the tensors anywhere in the arguments of a layer's call."""
    if isinstance(node, dict) and node.get("class_name") == "__keras_tensor__":
        yield node["config"]
    elif isinstance(node, (dict, list)):
        for part in node.values() if isinstance(node, dict) else node:
            yield from _input_tensors(part)


def _shape(sizes: list[int | None]) -> Shape:
    return tuple("?" if size is None else size for size in sizes)


def _last_output(layer: _Layer) -> Shape:
    """Return the output shape of a layer that no other layer reads."""
    if layer["class_name"] == "Dense":
        return (*_shape(layer["build_config"]["input_shape"])[:-1], layer["config"]["units"])
    if layer["class_name"] == "Reshape":
        return ("?", *layer["config"]["target_shape"])
    return _shape(next(_input_tensors(layer["inbound_nodes"]))["shape"])  # an activation


def _macs(layers: Mapping[str, _Layer], shapes: Mapping[str, Shape]) -> int | None:
    """Return None if a size other than the batch is free."""
    total = 0
    for name, layer in layers.items():
        if layer["class_name"] in _MACS:
            try:
                channels = layer["build_config"]["input_shape"][-1]
                output = single_photo(shapes[name])
                total += _MACS[layer["class_name"]](layer["config"], output, channels)
            except TypeError:
                return None
    return total


def _convolution(config: _Layer, output: tuple[int, ...], channels: int) -> int:
    products: int = math.prod(output) * math.prod(config["kernel_size"]) * channels
    return products // int(config["groups"])


def _depthwise_convolution(config: _Layer, output: tuple[int, ...], channels: int) -> int:
    products: int = math.prod(output) * math.prod(config["kernel_size"])
    return products


def _dense(config: _Layer, output: tuple[int, ...], channels: int) -> int:
    return math.prod(output) * channels


# (configuration, shape of the output, channels of the input) -> multiply-accumulates.
# Channels are last.
_MACS: dict[str, Callable[[_Layer, tuple[int, ...], int], int]] = {
    "Conv2D": _convolution,
    "DepthwiseConv2D": _depthwise_convolution,
    "Dense": _dense,
}
