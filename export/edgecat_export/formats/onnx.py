"""The ONNX format."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import keras
import numpy as np
import onnx
import tf2onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgecat.card import ModelCard
from edgecat.formats.onnx import onnx_entries
from edgecat_export.formats import FORMATS
from edgecat_export.formats.tensor_ranges import Step, tensor_ranges
from edgecat_export.formats.tracing import layer_of_tensor, naming_the_layer, traceable
from edgecat_export.quantisation.observation import Array
from edgecat_export.quantisation.statistics import Ranges


def to_float(folded: keras.Model, precision: str) -> bytes:
    """Return a file of any batch size, with float32 input and output in either precision.

    The input is `pixels` (batch, height, width, 3), the output `scores`. Raise ExportError.
    """
    converted = _converted(folded, precision)
    check_float(converted, precision)
    return converted


@naming_the_layer("to_onnx")
def _converted(folded: keras.Model, precision: str) -> bytes:
    _, function, pixels = traceable(folded, batch=None)
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    model, _ = tf2onnx.convert.from_function(function, [pixels], opset=FORMATS["onnx"].opset)
    _name_by_layer(model)
    if precision == "fp16":
        _store_weights_as_float16(model)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _name_by_layer(model: onnx.ModelProto) -> None:
    """Name nodes and tensors LAYER/OPERATION.

    tf2onnx leaves layers out, and its numbers go on from one conversion to the next.
    """
    graph = model.graph
    graph.name, graph.doc_string = "edgecat", ""
    names = {"": ""}  # an optional input or output that is left out
    names |= {value.name: value.name for value in (*graph.input, *graph.output)}
    constants = {constant.name for constant in graph.initializer}
    taken: set[str] = set()
    for node in graph.node:
        weights = [tensor for tensor in reversed(node.input) if tensor in constants]
        layers = map(layer_of_tensor, (node.output[0], *weights))
        name = base = f"{next(filter(None, layers), graph.name)}/{node.op_type}"
        while name in taken:
            name = f"{base}_{len(taken)}"
        taken.add(name)
        for number, output in enumerate(node.output):
            names.setdefault(output, name if number == 0 else f"{name}.{number}")
        for number, tensor in enumerate(node.input):
            names.setdefault(tensor, f"{name}:{number}")  # a constant: no earlier node made it
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
    """Halve the size at the same speed: ONNX Runtime casts the weights when it opens the file.

    Arithmetic in float16, for which most CPUs have no kernels, was slower.
    """
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims:
            name, values = tensor.name, onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_fp16"))
            to = onnx.TensorProto.FLOAT
            cast = onnx.helper.make_node("Cast", [tensor.name], [name], name=f"{name}_cast", to=to)
            casts.append(cast)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def to_int8(
    folded: keras.Model,
    ranges: Ranges,
    io: str = "uint8",
    float_layers: Collection[str] = (),
) -> bytes:
    """Return a QDQ file with int8 weights per channel and uint8 activations; see `Converter`.

    Input, logits and softmax stay float32 whatever `io` is; the batch size is free.
    """
    model = _prepared(to_float(folded, "fp32"))
    # Not the shapes, which are integers.
    values = (*model.graph.value_info, *model.graph.output)
    kind = onnx.TensorProto.FLOAT
    floats = {value.name for value in values if value.type.tensor_type.elem_type == kind}
    nodes = [node for node in model.graph.node if node.output[0] in floats]
    steps = [
        Step(node.op_type.upper(), list(node.input), node.output[0], _layer_of(node.output[0]))
        for node in nodes
    ]
    known = {
        name: (np.float32(low), np.float32(high))
        for name, (low, high) in tensor_ranges("pixels", steps, ranges).items()
    }
    work = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        # With int8, ONNX Runtime takes nearly twice as long on x86.
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, known),
        nodes_to_quantize=[],
        nodes_to_exclude=[node.name for node in nodes if _layer_of(node.name) in float_layers],
        op_types_to_quantize=[operation for operation in QDQRegistry if operation != "Softmax"],
        extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
    )
    work.quantize_model()
    work.model.topological_sort()
    quantised = work.model.model
    _keep_in_float(quantised, float_layers)
    # What quant_pre_process leaves behind, its unused domains too.
    del quantised.metadata_props[:], quantised.opset_import[1:]
    onnx.checker.check_model(quantised, full_check=True)
    result = bytes(quantised.SerializeToString(deterministic=True))
    check_quantised(result, float_layers)
    return result


def _prepared(fp32: bytes) -> onnx.ModelProto:
    """Return the model with the shapes and fused operations that the quantizer needs."""
    with tempfile.TemporaryDirectory() as folder:
        source, prepared = Path(folder) / "fp32.onnx", Path(folder) / "prepared.onnx"
        source.write_bytes(fp32)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        return onnx.load(prepared)


def _layer_of(name: str) -> str:
    """Return the layer of a node or tensor, which `_name_by_layer` named."""
    return name.split("/", maxsplit=1)[0]


def _keep_in_float(model: onnx.ModelProto, layers: Collection[str]) -> None:
    """Put a maximum with the lowest number behind the products of these layers.

    When ONNX Runtime opens a file, it quantises the float weights of a product between a
    DequantizeLinear and a QuantizeLinear, all channels with one scale (its
    WeightBiasQuantization). With another operation in between it does not.
    """
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type in ("Conv", "Gemm", "MatMul") and _layer_of(node.name) in layers:
            [output] = node.output
            node.output[:] = [f"{output}_as_it_is"]
            inputs, name = [f"{output}_as_it_is", "lowest"], f"{node.name}_as_it_is"
            nodes.append(onnx.helper.make_node("Max", inputs, [output], name=name))
    if len(nodes) > len(model.graph.node):
        lowest = np.array(np.finfo(np.float32).min, np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(lowest, "lowest"))
        del model.graph.node[:]
        model.graph.node.extend(nodes)


def check_float(model_file: bytes, precision: str) -> None:
    """Raise ValueError that names weights of another type, foreign operations or a fixed batch."""
    graph = onnx.load_from_string(model_file).graph
    stored = {"fp32": onnx.TensorProto.FLOAT, "fp16": onnx.TensorProto.FLOAT16}[precision]
    weights = [
        tensor
        for tensor in graph.initializer
        if len(tensor.dims) > 1 and tensor.data_type != onnx.TensorProto.INT64
    ]
    wrong = [
        f"the weights {tensor.name!r} are not {precision}"
        for tensor in weights
        if tensor.data_type != stored
    ]
    wrong += [
        f"operation {node.op_type!r} is of {node.domain!r}" for node in graph.node if node.domain
    ]
    batch, *_ = graph.input[0].type.tensor_type.shape.dim
    wrong += [] if batch.dim_param else [f"the input's batch is fixed at {batch.dim_value}"]
    if wrong:
        raise ValueError(f"not a {precision} ONNX model: {'; '.join(wrong)}")


def check_quantised(model_file: bytes, float_layers: Collection[str] = ()) -> None:
    """Raise ValueError that names products with float inputs outside of `float_layers`."""
    graph = onnx.load_from_string(model_file).graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    products = [
        node
        for node in graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul") and _layer_of(node.name) not in float_layers
    ]
    wrong = [
        f"{node.name!r} takes {name!r}"
        for node in products
        for name in node.input
        if made_by.get(name) != "DequantizeLinear"
    ]
    if wrong or not products:
        raise ValueError(
            f"not a quantised ONNX model, float inputs: {'; '.join(wrong) or 'nothing to quantise'}"
        )


def describe(model: bytes, card: ModelCard) -> bytes:
    """Return the file with Ultralytics' keys, and the recipe in plain ones."""
    return model + onnx_entries(
        {
            "description": f"edgecat {card.name}",
            "license": card.licence,
            "task": "classify",
            "batch": "1",
            "channels": "3",
            "imgsz": str([card.input.height, card.input.width]),
            "names": str(dict(enumerate(card.labels))),
            "layout": "NHWC",
            "mean": str(card.input.mean),
            "std": str(card.input.std),
        }
    )


def layer_noise(file: Path, folded: keras.Model, photos: Array) -> Mapping[str, float]:
    """Return nothing: ONNX Runtime does not show the outputs of layers."""
    return {}
