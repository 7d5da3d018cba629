"""How fast this machine can multiply: a convolution that is all products, on the engine and the threads that a model is measured with."""

from __future__ import annotations

import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np

from edgecat.engines import open_engine

SIDE, CHANNELS = (
    28,
    256,
)  # of one 1 x 1 convolution: 51 million products, whose weights fit a small cache
MACS = SIDE * SIDE * CHANNELS * CHANNELS
RUNS = 60


@cache
def peak_gmacs(engine: str, threads: int, whole: bool) -> float | None:
    """Billions of multiply-accumulates a second, of int8 (`whole`) or float32: the best of many runs. None where the model to measure it cannot be made."""
    try:
        content = _convolution(whole)
    except ImportError:  # LiteRT brings the library that writes it
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "peak.tflite")
        path.write_bytes(content)
        opened = open_engine(path, engine, threads)
        tensor = np.zeros((1, SIDE, SIDE, CHANNELS), opened.input.dtype)
        least = float("inf")
        for _ in range(RUNS):
            began = time.perf_counter()
            opened.run(tensor)
            least = min(least, time.perf_counter() - began)
        opened.close()
    return MACS / least / 1e9


def _convolution(whole: bool) -> bytes:
    """A .tflite of one convolution; its weights are zeros, whose products take as long as any."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    kind = schema.TensorType.INT8 if whole else schema.TensorType.FLOAT32
    sums = schema.TensorType.INT32 if whole else schema.TensorType.FLOAT32
    width = 1 if whole else 4  # bytes

    def tensor(name: str, shape: list[int], kind: int, buffer: int, scale: float) -> schema.TensorT:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), shape, kind, buffer
        if whole:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [0]
        return made

    def buffer(length: int) -> schema.BufferT:
        made = schema.BufferT()
        made.data = np.zeros(length, np.uint8)
        return made

    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    operator = schema.OperatorT()
    operator.inputs, operator.outputs, operator.builtinOptionsType, operator.builtinOptions = (
        [0, 1, 2],
        [3],
        schema.BuiltinOptions.Conv2DOptions,
        options,
    )
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 3 if whole else 1
    graph = schema.SubGraphT()
    photo = [1, SIDE, SIDE, CHANNELS]
    graph.tensors = [
        tensor("input", photo, kind, 0, 0.1),
        tensor("weights", [CHANNELS, 1, 1, CHANNELS], kind, 1, 0.01),
        tensor("bias", [CHANNELS], sums, 2, 0.001),
        tensor("output", photo, kind, 0, 0.1),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [3], [operator]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT(), buffer(CHANNELS * CHANNELS * width), buffer(CHANNELS * 4)]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
