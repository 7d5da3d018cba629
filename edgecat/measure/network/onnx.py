"""Read the network of an .onnx file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgecat.measure.network.network import Network, Shape, TensorInfo, single_photo

if TYPE_CHECKING:
    import onnx


def read_onnx(path: Path) -> Network:
    """Return the network of the graph. Need `onnx`. Raise ValueError if the file is broken."""
    import onnx
    from google.protobuf.message import DecodeError  # a dependency of onnx

    try:
        model = onnx.load_from_string(path.read_bytes())
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (DecodeError, RuntimeError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(str(error)) from None
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    shapes: dict[str, Shape] = {
        value.name: _shape(value.type.tensor_type)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    shapes |= constants
    weights_bytes = sum(
        math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in graph.initializer
    )
    return Network(
        tuple(_tensor_info(value) for value in graph.input if value.name not in constants),
        tuple(map(_tensor_info, graph.output)),
        dict(Counter(node.op_type for node in graph.node).most_common()),
        weights_bytes,
        _macs(graph, shapes),
    )


def _tensor_info(value: onnx.ValueInfoProto) -> TensorInfo:
    import onnx

    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return TensorInfo(value.name, _shape(kind), str(dtype))


def _shape(kind: onnx.TypeProto.Tensor) -> Shape:
    return tuple(
        size.dim_value if size.HasField("dim_value") else size.dim_param or "?"
        for size in kind.shape.dim
    )


def _macs(graph: onnx.GraphProto, shapes: Mapping[str, Shape]) -> int | None:
    """Return None if a shape is free, or if onnx cannot infer it."""
    total = 0
    for node in graph.node:
        if node.op_type in _MACS:
            names = (*node.input[:4], node.output[0])
            try:
                *inputs, output = (single_photo(shapes[name]) for name in names if name)
                total += _MACS[node.op_type](inputs, output)
            except (KeyError, IndexError, TypeError):
                return None
    return total


_Shapes = Sequence[tuple[int, ...]]


def _convolution(inputs: _Shapes, output: tuple[int, ...]) -> int:
    return output[0] * math.prod(output[2:]) * math.prod(inputs[1])


def _quantised_convolution(inputs: _Shapes, output: tuple[int, ...]) -> int:
    return output[0] * math.prod(output[2:]) * math.prod(inputs[3])


def _transposed_convolution(inputs: _Shapes, output: tuple[int, ...]) -> int:
    return inputs[0][0] * math.prod(inputs[0][2:]) * math.prod(inputs[1])


def _gemm(inputs: _Shapes, output: tuple[int, ...]) -> int:
    return output[0] * math.prod(inputs[1])


def _matrix_product(inputs: _Shapes, output: tuple[int, ...]) -> int:
    return math.prod(output) * inputs[0][-1]


# (shapes of the inputs, shape of the output) -> multiply-accumulates.
# Channels are first; weights are (outputs, inputs, height, width).
_MACS: dict[str, Callable[[_Shapes, tuple[int, ...]], int]] = {
    "Conv": _convolution,
    "ConvInteger": _convolution,
    "QLinearConv": _quantised_convolution,
    "ConvTranspose": _transposed_convolution,
    "Gemm": _gemm,
    "MatMul": _matrix_product,
    "MatMulInteger": _matrix_product,
    "QLinearMatMul": _matrix_product,
}
