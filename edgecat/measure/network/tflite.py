"""Read the network of a .tflite file from its flatbuffer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgecat.measure.network.network import Network, TensorInfo


def read_tflite(path: Path) -> Network:
    """Return the network of the first subgraph. Need `ai_edge_litert`."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
    shapes = [
        tuple(map(int, tensor.ShapeAsNumpy())) if tensor.ShapeLength() else () for tensor in tensors
    ]
    dtypes = {value: name.lower() for name, value in _constants(schema.TensorType).items()}
    operations, macs = _work(model, graph, shapes, schema.BuiltinOperator)
    inputs, outputs = (
        tuple(_tensor_info(tensors[i], shapes[i], dtypes) for i in ends)
        for ends in (graph.InputsAsNumpy(), graph.OutputsAsNumpy())
    )
    has_signature = model.SignatureDefsLength() > 0
    return Network(
        inputs,
        outputs,
        dict(operations.most_common()),
        _weights_bytes(model),
        macs,
        model.SignatureDefs(0).SignatureKey().decode() if has_signature else "",
    )


def _constants(enumeration: type) -> dict[str, int]:
    return {name: value for name, value in vars(enumeration).items() if not name.startswith("_")}


def _tensor_info(tensor: Any, shape: tuple[int, ...], dtypes: dict[int, str]) -> TensorInfo:
    signature = tensor.ShapeSignatureAsNumpy() if tensor.ShapeSignatureLength() else shape
    quantisation = tensor.Quantization()
    quantised = quantisation is not None and quantisation.ScaleLength() == 1
    return TensorInfo(
        tensor.Name().decode(),
        tuple("?" if size < 0 else int(size) for size in signature),
        dtypes[tensor.Type()],
        float(quantisation.Scale(0)) if quantised else None,
        int(quantisation.ZeroPoint(0)) if quantised else None,
    )


def _work(
    model: Any, graph: Any, shapes: Sequence[tuple[int, ...]], builtins: Any
) -> tuple[Counter[str], int]:
    """Return how often each operation occurs, and the multiply-accumulates of all."""
    names = {value: name for name, value in _constants(builtins).items()}
    operations: Counter[str] = Counter()
    macs = 0
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        code = model.OperatorCodes(operator.OpcodeIndex())
        # Old files have the deprecated code only, new files have both.
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        custom = builtin == builtins.CUSTOM
        name = code.CustomCode().decode() if custom else names[builtin]
        operations[name] += 1
        if name in _MACS:
            inputs = [shapes[i] if i >= 0 else () for i in operator.InputsAsNumpy()]
            macs += _MACS[name](inputs, shapes[operator.Outputs(0)])
    return operations, macs


def _weights_bytes(model: Any) -> int:
    metadata = {model.Metadata(i).Buffer() for i in range(model.MetadataLength())}
    total = 0
    for i in range(model.BuffersLength()):
        if i not in metadata:
            total += max(model.Buffers(i).DataLength(), model.Buffers(i).Size())
    return total


_Shapes = Sequence[tuple[int, ...]]


def _convolution(inputs: _Shapes, output: tuple[int, ...]) -> int:
    return math.prod(output[:3]) * math.prod(inputs[1])


def _transposed_convolution(inputs: _Shapes, output: tuple[int, ...]) -> int:
    return math.prod(inputs[2][:3]) * math.prod(inputs[1])


def _fully_connected(inputs: _Shapes, output: tuple[int, ...]) -> int:
    return math.prod(output[:-1]) * math.prod(inputs[1])


def _matrix_product(inputs: _Shapes, output: tuple[int, ...]) -> int:
    return math.prod(output) * math.prod(inputs[0]) // math.prod(output[:-1])


# (shapes of the inputs, shape of the output) -> multiply-accumulates.
# Channels are last; weights are (outputs, height, width, inputs).
_MACS: dict[str, Callable[[_Shapes, tuple[int, ...]], int]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "TRANSPOSE_CONV": _transposed_convolution,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _matrix_product,
}
