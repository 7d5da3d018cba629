"""What is inside a model file, edgecat's or not: tensors, operations, sizes and the work of one photo."""

from __future__ import annotations

import json
import math
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgecat.card import ModelCard
from edgecat.errors import ModelError
from edgecat.formats import detect, read_card

if TYPE_CHECKING:
    import onnx

Shape: TypeAlias = "tuple[int | str, ...]"  # a name, or ?, where a size is free


@dataclass(frozen=True)
class TensorInfo:
    """An input or output; a real value is `scale * (integer - zero_point)`, None for floats."""

    name: str
    shape: Shape
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Network:
    """What a model computes."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operations: Mapping[str, int]  # name -> how many, the most frequent first
    weights_bytes: int
    macs: (
        int | None
    )  # multiply-accumulates of convolutions and matrix products for one photo; None where a shape is free
    signature: str = ""  # that a .tflite is run by; empty where it has none


@dataclass(frozen=True)
class Inspection:
    """A model file, looked into."""

    path: Path
    format: str  # tflite, onnx or keras
    bytes: int
    card: ModelCard | None
    card_missing: str  # why there is no card
    network: Network


def inspect(path: Path) -> Inspection:
    """Needs the `ai_edge_litert` package for .tflite files and `onnx` for .onnx files, and runs nothing. Raises ModelError."""
    kind = detect(path)
    card, missing = None, ""
    try:
        card = read_card(path)
    except ModelError as error:
        missing = str(error).removeprefix(f"{path}: ")
    try:
        network = _READERS[kind](path)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"looking into a .{kind} file needs '{error.name}'; install it with: pip install {_PACKAGES[kind]}"
        ) from None
    except (
        struct.error,
        IndexError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
    ):  # what readers meet in broken bytes
        raise ModelError(
            f"{path}: broken, its network cannot be read; copy or export it anew"
        ) from None
    return Inspection(path, kind, path.stat().st_size, card, missing, network)


def _read_tflite(path: Path) -> Network:
    from ai_edge_litert import schema_py_generated as schema

    kinds = {
        value: name.lower()
        for name, value in vars(schema.TensorType).items()
        if not name.startswith("_")
    }
    names = {
        value: name
        for name, value in vars(schema.BuiltinOperator).items()
        if not name.startswith("_")
    }
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
    shapes = [
        tuple(map(int, tensor.ShapeAsNumpy())) if tensor.ShapeLength() else () for tensor in tensors
    ]

    def info(index: int) -> TensorInfo:
        tensor = tensors[index]
        free = tensor.ShapeSignatureAsNumpy() if tensor.ShapeSignatureLength() else shapes[index]
        steps = tensor.Quantization()
        quantised = steps is not None and steps.ScaleLength() == 1
        return TensorInfo(
            tensor.Name().decode(),
            tuple("?" if size < 0 else int(size) for size in free),
            kinds[tensor.Type()],
            float(steps.Scale(0)) if quantised else None,
            int(steps.ZeroPoint(0)) if quantised else None,
        )

    operations: Counter[str] = Counter()
    macs = 0
    for operator in (graph.Operators(i) for i in range(graph.OperatorsLength())):
        code = model.OperatorCodes(operator.OpcodeIndex())
        builtin = max(
            code.BuiltinCode(), code.DeprecatedBuiltinCode()
        )  # old files have the one, new files both
        name = (
            code.CustomCode().decode()
            if builtin == schema.BuiltinOperator.CUSTOM
            else names[builtin]
        )
        operations[name] += 1
        if name in _TFLITE_MACS:
            macs += _TFLITE_MACS[name](
                [shapes[i] if i >= 0 else () for i in operator.InputsAsNumpy()],
                shapes[operator.Outputs(0)],
            )
    buffers = (model.Buffers(i) for i in range(model.BuffersLength()))
    metadata = {model.Metadata(i).Buffer() for i in range(model.MetadataLength())}
    weights = sum(
        max(buffer.DataLength(), buffer.Size())
        for i, buffer in enumerate(buffers)
        if i not in metadata
    )
    inputs, outputs = (
        tuple(info(i) for i in ends) for ends in (graph.InputsAsNumpy(), graph.OutputsAsNumpy())
    )
    signature = (
        model.SignatureDefs(0).SignatureKey().decode() if model.SignatureDefsLength() else ""
    )
    return Network(inputs, outputs, dict(operations.most_common()), weights, macs, signature)


# (shapes of the inputs, shape of the output) -> multiply-accumulates. Channels are last, weights (outputs, height, width, inputs).
_TFLITE_MACS = {
    "CONV_2D": lambda inputs, output: math.prod(output[:3]) * math.prod(inputs[1]),
    "DEPTHWISE_CONV_2D": lambda inputs, output: math.prod(output[:3]) * math.prod(inputs[1]),
    "TRANSPOSE_CONV": lambda inputs, output: math.prod(inputs[2][:3]) * math.prod(inputs[1]),
    "FULLY_CONNECTED": lambda inputs, output: math.prod(output[:-1]) * math.prod(inputs[1]),
    "BATCH_MATMUL": lambda inputs, output: (
        math.prod(output) * math.prod(inputs[0]) // math.prod(output[:-1])
    ),
}


def _read_onnx(path: Path) -> Network:
    import onnx
    from google.protobuf.message import DecodeError  # comes with onnx

    try:
        model = onnx.load_from_string(path.read_bytes())
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (DecodeError, RuntimeError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(str(error)) from None
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    values = {
        value.name: value.type.tensor_type
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    shapes = {name: _onnx_shape(kind) for name, kind in values.items()} | constants

    def info(value: onnx.ValueInfoProto) -> TensorInfo:
        kind = value.type.tensor_type
        return TensorInfo(
            value.name, _onnx_shape(kind), str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        )

    macs: int | None = 0
    for node in graph.node:
        if node.op_type in _ONNX_MACS and macs is not None:
            try:
                needed = [
                    _of_one_photo(shapes[name])
                    for name in (*node.input[:4], node.output[0])
                    if name
                ]
                macs += _ONNX_MACS[node.op_type](needed[:-1], needed[-1])
            except (
                KeyError,
                IndexError,
                TypeError,
            ):  # a shape that is free, or that onnx cannot infer
                macs = None
    operations = Counter(node.op_type for node in graph.node)
    weights = sum(
        math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in graph.initializer
    )
    inputs = tuple(info(value) for value in graph.input if value.name not in constants)
    return Network(
        inputs, tuple(map(info, graph.output)), dict(operations.most_common()), weights, macs
    )


def _onnx_shape(kind: onnx.TypeProto.Tensor) -> Shape:
    return tuple(
        size.dim_value if size.HasField("dim_value") else size.dim_param or "?"
        for size in kind.shape.dim
    )


def _of_one_photo(shape: Shape) -> tuple[int, ...]:
    """Raises TypeError where another size than the batch is free."""
    batch = (1,) if shape and isinstance(shape[0], str) else shape[:1]
    sizes = tuple(size for size in (*batch, *shape[1:]) if isinstance(size, int))
    if len(sizes) < len(shape):
        raise TypeError(shape)
    return sizes


# As above, with channels first: weights (outputs, inputs, height, width).
_ONNX_MACS = {
    "Conv": lambda inputs, output: output[0] * math.prod(output[2:]) * math.prod(inputs[1]),
    "ConvInteger": lambda inputs, output: output[0] * math.prod(output[2:]) * math.prod(inputs[1]),
    "QLinearConv": lambda inputs, output: output[0] * math.prod(output[2:]) * math.prod(inputs[3]),
    "ConvTranspose": lambda inputs, output: (
        inputs[0][0] * math.prod(inputs[0][2:]) * math.prod(inputs[1])
    ),
    "Gemm": lambda inputs, output: output[0] * math.prod(inputs[1]),
    "MatMul": lambda inputs, output: math.prod(output) * inputs[0][-1],
    "MatMulInteger": lambda inputs, output: math.prod(output) * inputs[0][-1],
    "QLinearMatMul": lambda inputs, output: math.prod(output) * inputs[0][-1],
}


def _read_keras(path: Path) -> Network:
    """From the configuration alone, so that no Keras is needed: it holds the shape of what each layer reads."""
    with zipfile.ZipFile(path) as archive:
        whole = json.loads(archive.read("config.json"))
        weights = archive.getinfo("model.weights.h5").file_size
    if whole["class_name"] != "Functional":
        raise ModelError(
            f"{path}: a Keras model of class {whole['class_name']}; only functional models can be looked into"
        )
    layers = {layer["config"]["name"]: layer for layer in whole["config"]["layers"]}
    shapes: dict[str, Shape] = {}
    for layer in layers.values():
        for tensor in _keras_tensors(layer["inbound_nodes"]):
            shapes[tensor["keras_history"][0]] = _keras_shape(tensor["shape"])
    ends = [
        [end] if isinstance(end[0], str) else end
        for end in (whole["config"]["input_layers"], whole["config"]["output_layers"])
    ]
    for name, *_ in ends[1]:
        shapes[name] = _keras_output(layers[name])
    macs: int | None = 0
    for name, layer in layers.items():
        if layer["class_name"] in _KERAS_MACS and macs is not None:
            try:
                macs += _KERAS_MACS[layer["class_name"]](
                    layer["config"],
                    _of_one_photo(shapes[name]),
                    layer["build_config"]["input_shape"],
                )
            except TypeError:
                macs = None
    dtypes = {
        name: layer["config"]["dtype"]
        for name, layer in layers.items()
        if layer["class_name"] == "InputLayer"
    }
    inputs, outputs = (
        tuple(TensorInfo(name, shapes[name], dtypes.get(name, "float32")) for name, *_ in end)
        for end in ends
    )
    operations = Counter(
        layer["class_name"] for name, layer in layers.items() if name not in dtypes
    )
    return Network(inputs, outputs, dict(operations.most_common()), weights, macs)


def _keras_tensors(node: Any) -> Iterator[dict[str, Any]]:
    """The tensors anywhere in what a layer was called with."""
    if isinstance(node, dict) and node.get("class_name") == "__keras_tensor__":
        yield node["config"]
    elif isinstance(node, (dict, list)):
        for part in node.values() if isinstance(node, dict) else node:
            yield from _keras_tensors(part)


def _keras_shape(sizes: list[int | None]) -> Shape:
    return tuple("?" if size is None else size for size in sizes)


def _keras_output(layer: dict[str, Any]) -> Shape:
    """What the last layer gives, which no other layer reads."""
    if layer["class_name"] == "Dense":
        return (*_keras_shape(layer["build_config"]["input_shape"])[:-1], layer["config"]["units"])
    if layer["class_name"] == "Reshape":
        return ("?", *layer["config"]["target_shape"])
    return _keras_shape(next(_keras_tensors(layer["inbound_nodes"]))["shape"])  # an activation


# (configuration, shape of the output, shape of the input) -> multiply-accumulates, channels last.
_KERAS_MACS: dict[str, Callable[[dict[str, Any], tuple[int, ...], list[int]], int]] = {
    "Conv2D": lambda config, output, read: (
        math.prod(output) * math.prod(config["kernel_size"]) * read[-1] // config["groups"]
    ),
    "DepthwiseConv2D": lambda config, output, read: (
        math.prod(output) * math.prod(config["kernel_size"])
    ),
    "Dense": lambda config, output, read: math.prod(output) * read[-1],
}

_READERS = {"tflite": _read_tflite, "onnx": _read_onnx, "keras": _read_keras}
_PACKAGES = {"tflite": "ai-edge-litert", "onnx": "onnx", "keras": ""}
