"""Small models as other makers write them.

Their scores follow from a photo's mean colour, so that a test can compute them.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecat.formats.tflite import associated_files
from edgecat.models import DEFAULT_MODEL


def stripped() -> bytes:
    """Return the default model with standard TFLite metadata alone.

    It has labels.txt in its zip, and no model card.
    """
    content = DEFAULT_MODEL.read_bytes()
    return without_zip() + zipped({"labels.txt": associated_files(content)["labels.txt"]})


def without_zip() -> bytes:
    """The same with normalisation in its metadata, but no labels."""
    content = DEFAULT_MODEL.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return content[: min(member.header_offset for member in archive.infolist())]


def zipped(files: dict[str, bytes]) -> bytes:
    end = io.BytesIO()
    with zipfile.ZipFile(end, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return end.getvalue()


def colour_tflite(
    path: Path,
    weights: Any,
    *,
    size: int = 16,
    dtype: type = np.float32,
    scale: float = 0.0,
    zero_point: int = 0,
    softmax: bool = True,
    free: bool = False,
) -> Path:
    """mean over the photo -> (colours, 3) `weights` -> softmax; no metadata.

    Integers if `dtype` is; any photo size if `free`.
    """
    pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert")
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    weights = np.asarray(weights, np.float32)
    whole = dtype is not np.float32
    kinds: dict[type, Any] = {
        np.float32: schema.TensorType.FLOAT32,
        np.uint8: schema.TensorType.UINT8,
        np.int8: schema.TensorType.INT8,
    }
    least = int(np.iinfo(dtype).min) if whole else 0
    step = float(np.abs(weights).max()) / 127  # of the weights
    stored = (
        (np.rint(weights / step) + 128 + least).clip(least, least + 255).astype(dtype)
        if whole
        else weights
    )
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], []
    model.buffers, graph.tensors, graph.operators = [schema.BufferT()], [], []

    def tensor(
        shape: list[int],
        kind: int,
        quantised: tuple[float, int] | None = None,
        data: bytes = b"",
        signature: list[int] | None = None,
    ) -> int:
        made = schema.TensorT()
        made.shape, made.shapeSignature, made.type, made.name = (
            shape,
            signature,
            kind,
            f"t{len(graph.tensors)}".encode(),
        )
        if quantised and whole:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [quantised[0]], [quantised[1]]
        if data:
            made.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = list(data)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(code: int, inputs: list[int], output: int, kind: int, options: Any) -> None:
        made, code_ = schema.OperatorT(), schema.OperatorCodeT()
        code_.builtinCode = code_.deprecatedBuiltinCode = code
        (
            made.opcodeIndex,
            made.inputs,
            made.outputs,
            made.builtinOptionsType,
            made.builtinOptions,
        ) = len(model.operatorCodes), inputs, [output], kind, options
        model.operatorCodes.append(code_)
        graph.operators.append(made)

    photo = tensor(
        [1, 1, 1, 3] if free else [1, size, size, 3],
        kinds[dtype],
        (scale, zero_point),
        signature=[-1, -1, -1, 3] if free else None,
    )
    axes = tensor([2], schema.TensorType.INT32, data=np.array([1, 2], np.int32).tobytes())
    means = tensor([1, 3], kinds[dtype], (scale, zero_point))
    matrix = tensor(list(weights.shape), kinds[dtype], (step, 128 + least), stored.tobytes())
    logits = tensor([1, len(weights)], kinds[dtype], (0.125, 128 + least))
    operator(
        schema.BuiltinOperator.MEAN,
        [photo, axes],
        means,
        schema.BuiltinOptions.ReducerOptions,
        schema.ReducerOptionsT(),
    )
    full = schema.FullyConnectedOptionsT()
    operator(
        schema.BuiltinOperator.FULLY_CONNECTED,
        [means, matrix, -1],
        logits,
        schema.BuiltinOptions.FullyConnectedOptions,
        full,
    )
    said = logits
    if softmax:
        said = tensor([1, len(weights)], kinds[dtype], (1 / 256, least))
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        operator(
            schema.BuiltinOperator.SOFTMAX,
            [logits],
            said,
            schema.BuiltinOptions.SoftmaxOptions,
            options,
        )
    graph.inputs, graph.outputs = [photo], [said]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def colour_onnx(
    path: Path,
    weights: Any,
    shape: list[int | str],
    keys: dict[str, str] | None = None,
    *,
    softmax: bool = False,
) -> Path:
    """mean over the photo -> (colours, 3) `weights` -> softmax.

    The photo's `shape` is (batch, 3, height, width), or channels last.
    """
    import onnx

    weights = np.asarray(weights, np.float32)
    axes = [1, 2] if shape[-1] == 3 else [2, 3]
    helper = onnx.helper
    nodes = [
        helper.make_node("ReduceMean", ["photo"], ["means"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["scores" if not softmax else "logits"]),
        *([helper.make_node("Softmax", ["logits"], ["scores"], axis=1)] if softmax else []),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("photo", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [shape[0], len(weights)])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(weights.T), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in (keys or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    return path
