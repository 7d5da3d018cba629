"""How fast this machine multiplies: a convolution on the engine and threads of a model."""

from __future__ import annotations

import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgecat.engines import open_engine

SIDE, CHANNELS = 28, 256  # of one 1 x 1 convolution, whose weights fit a small cache
MACS = SIDE * SIDE * CHANNELS * CHANNELS  # 51 million
RUNS = 60


@cache
def peak_gmacs(engine: str, threads: int, int8: bool) -> float | None:
    """Return billions of multiply-accumulates a second, the best of many runs.

    They are of int8, or else of float32. Return None if the model cannot be made: LiteRT brings
    the library that writes it.
    """
    try:
        content = convolution(int8)
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "peak.tflite")
        path.write_bytes(content)
        opened = open_engine(path, engine, threads)
        tensor = np.zeros((1, SIDE, SIDE, CHANNELS), opened.input.dtype)
        shortest = float("inf")
        for _ in range(RUNS):
            began = time.perf_counter()
            opened.run(tensor)
            shortest = min(shortest, time.perf_counter() - began)
        opened.close()
    return MACS / shortest / 1e9


def convolution(int8: bool) -> bytes:
    """Return a .tflite of one convolution. Its weights are zeros: they take as long as others."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.SubGraphT()
    graph.tensors = _tensors(schema, int8)
    graph.inputs, graph.outputs, graph.operators = [0], [3], [_operator(schema)]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 3 if int8 else 1
    weights_bytes = CHANNELS * CHANNELS * (1 if int8 else 4)
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT()]  # buffer 0 is empty, for tensors without content
    for length in (weights_bytes, CHANNELS * 4):
        buffer = schema.BufferT()
        buffer.data = np.zeros(length, np.uint8)
        model.buffers.append(buffer)
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensors(schema: Any, int8: bool) -> list[Any]:
    values = schema.TensorType.INT8 if int8 else schema.TensorType.FLOAT32
    sums = schema.TensorType.INT32 if int8 else schema.TensorType.FLOAT32
    photo = [1, SIDE, SIDE, CHANNELS]
    tensors = []
    for name, shape, dtype, buffer, scale in (
        ("input", photo, values, 0, 0.1),
        ("weights", [CHANNELS, 1, 1, CHANNELS], values, 1, 0.01),
        ("bias", [CHANNELS], sums, 2, 0.001),
        ("output", photo, values, 0, 0.1),
    ):
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name.encode(), shape
        tensor.type, tensor.buffer = dtype, buffer
        if int8:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [0]
        tensors.append(tensor)
    return tensors


def _operator(schema: Any) -> Any:
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = 1
    options.dilationHFactor = options.dilationWFactor = 1
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 1, 2], [3]
    operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    operator.builtinOptions = options
    return operator
