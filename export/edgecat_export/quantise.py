"""A float file from `convert` and the ranges of its layers' outputs become an int8 file."""

import re
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from ai_edge_quantizer import quantizer, recipe
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgecat_export.convert import layer_of_tensor
from edgecat_export.names import Ranges

# Their output holds the numbers of their input (and the zeros of a padding, which every quantised range holds).
_MOVES = {
    "EXPAND_DIMS",
    "FLATTEN",
    "IDENTITY",
    "PAD",
    "RESHAPE",
    "SQUEEZE",
    "TRANSPOSE",
    "UNSQUEEZE",
}
_PROBABILITIES = {"LOGISTIC", "SIGMOID", "SOFTMAX"}
_CLAMPS = {"CLIP", "RELU", "RELU6"}
_WEIGHT_AXIS = {
    "CONV_2D": 0,
    "DEPTHWISE_CONV_2D": -1,
    "FULLY_CONNECTED": 0,
}  # of the output channels in TFLite


class _Step(NamedTuple):
    operation: str
    inputs: list[str]
    output: str
    layer: str | None


def _tensor_ranges(pixels: str, steps: Iterable[_Step], ranges: Ranges) -> Ranges:
    known, made = {pixels: ranges["pixels"]}, dict[str, str]()
    for step in steps:
        if step.operation in _PROBABILITIES:
            known[step.output] = 0.0, 1.0
        elif step.operation in _MOVES:
            known[step.output] = known[step.inputs[0]]
        elif step.layer is None or step.layer not in ranges:
            raise ValueError(
                f"no range for {step.output!r}, the output of {step.operation}: expected one of layer {step.layer!r}"
            )
        elif step.layer in made and step.operation not in _CLAMPS:
            raise ValueError(
                f"layer {step.layer!r} has one range, but makes {made[step.layer]!r} and {step.output!r}"
            )
        else:
            made[step.layer] = step.output
            known[step.output] = ranges[step.layer]
    return known


def tflite_int8(
    fp32: bytes, ranges: Ranges, io: str = "uint8", float_layers: Collection[str] = ()
) -> bytes:
    """Every weight (per channel) and every activation in int8, but for `float_layers`; input and output are uint8 or int8.

    Takes a file from `to_tflite`. Where `ranges["pixels"]` is (-1, 127/128), a uint8 input is the photo's own bytes.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(fp32))
    [graph] = model.subgraphs
    names = [tensor.name.decode() for tensor in graph.tensors]
    tensors = dict(zip(names, graph.tensors, strict=True))
    steps = []
    for operator in graph.operators:
        inputs, output = [names[i] for i in operator.inputs if i >= 0], names[operator.outputs[0]]
        steps.append(_Step(_operation(model, operator), inputs, output, layer_of_tensor(output)))
    known = _tensor_ranges(names[graph.inputs[0]], steps, ranges)
    bounds = {
        name: [np.full((1,) * len(tensors[name].shape), end, np.float32) for end in ends]
        for name, ends in known.items()
    }
    for step in steps:
        if step.operation in _WEIGHT_AXIS:
            kernel, *bias = (_constant(model, tensors[name]) for name in step.inputs[1:])
            widest = _weight_bound(
                kernel,
                bias[0] if bias else np.zeros(1),
                _WEIGHT_AXIS[step.operation],
                known[step.inputs[0]],
            )
            bounds[step.inputs[1]] = [-widest, widest]
    statistics = {name: {"min": low, "max": high} for name, (low, high) in bounds.items()}
    recipes = recipe.static_wi8_ai8()
    for layer in float_layers:  # an operation goes by the names of its outputs, which begin with those of the layers fused into it
        recipes.append(
            {
                "regex": rf"(^|;|/){re.escape(layer)}\._\d+/",
                "operation": "*",
                "algorithm_key": "no_quantize",
                "op_config": {},
            }
        )
    work = quantizer.Quantizer(bytearray(fp32), recipes)
    quantised = work.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    whole = flatbuffer_utils.read_model_from_bytearray(
        bytearray(quantised.quantized_model)
    )  # with the buffers that lie behind it
    if io == "uint8":
        _make_input_and_output_uint8(whole)
    result = bytes(flatbuffer_utils.convert_object_to_bytearray(whole))
    assert_integer_tflite(result, io, float_layers)
    return result


def _operation(model: schema.ModelT, operator: schema.OperatorT) -> str:
    return str(flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex))


def _constant(model: schema.ModelT, tensor: schema.TensorT) -> np.ndarray:
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32).reshape(tensor.shape)


def _weight_bound(
    kernel: np.ndarray, bias: np.ndarray, axis: int, input_range: tuple[float, float]
) -> np.ndarray:
    """The largest weight of each channel, or more where the channel's bias needs more.

    A bias is stored in int32 steps of input scale x weight scale. MobileNets have a few channels without weights whose bias
    matters: there the steps would be so small that the bias overflows.
    """
    others = tuple(i for i in range(kernel.ndim) if i != axis % kernel.ndim)
    largest: np.ndarray = np.abs(kernel).max(others, keepdims=True)
    input_scale = (max(input_range[1], 0) - min(input_range[0], 0)) / 255
    for_bias: np.ndarray = (
        127 * np.abs(bias).reshape(largest.shape if bias.size > 1 else -1) / 2**30 / input_scale
    )
    bound: np.ndarray = np.maximum(np.maximum(largest, for_bias), largest.max() * 1e-6)
    return bound.astype(np.float32)


def _make_input_and_output_uint8(model: schema.ModelT) -> None:
    """QUANTIZE in front and behind moves the zero points by 128 and loses nothing."""
    [graph] = model.subgraphs
    quantize = schema.BuiltinOperator.QUANTIZE
    model.operatorCodes.append(
        schema.OperatorCodeT(builtinCode=quantize, deprecatedBuiltinCode=quantize, version=1)
    )

    def unsigned(inside: int) -> int:
        tensor = graph.tensors[inside]
        [scale], [zero_point] = tensor.quantization.scale, tensor.quantization.zeroPoint
        steps = schema.QuantizationParametersT(scale=[scale], zeroPoint=[zero_point + 128])
        graph.tensors.append(
            schema.TensorT(
                shape=tensor.shape,
                type=schema.TensorType.UINT8,
                name=tensor.name,
                quantization=steps,
            )
        )
        tensor.name += b"_int8"
        return len(graph.tensors) - 1

    def requantize(source: int, target: int) -> schema.OperatorT:
        options = {
            "builtinOptionsType": schema.BuiltinOptions.QuantizeOptions,
            "builtinOptions": schema.QuantizeOptionsT(),
        }
        return schema.OperatorT(
            opcodeIndex=len(model.operatorCodes) - 1, inputs=[source], outputs=[target], **options
        )

    [first], [last] = graph.inputs, graph.outputs
    pixels, scores = unsigned(first), unsigned(last)
    graph.operators = [requantize(pixels, first), *graph.operators, requantize(last, scores)]
    graph.inputs, graph.outputs = [pixels], [scores]
    for signature in model.signatureDefs or []:
        signature.inputs[0].tensorIndex, signature.outputs[0].tensorIndex = pixels, scores


def onnx_int8(fp32: bytes, ranges: Ranges, float_layers: Collection[str] = ()) -> bytes:
    """QDQ with int8 weights per channel and uint8 activations; input, logits, softmax and `float_layers` stay float32, the batch free.

    Takes a file from `to_onnx`.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, prepared = Path(folder) / "fp32.onnx", Path(folder) / "prepared.onnx"
        source.write_bytes(fp32)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        model = onnx.load(prepared)
    values = (*model.graph.value_info, *model.graph.output)
    floats = {
        value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }  # not the shapes
    nodes = [node for node in model.graph.node if node.output[0] in floats]
    steps = [
        _Step(node.op_type.upper(), list(node.input), node.output[0], node.output[0].split("/")[0])
        for node in nodes
    ]
    known = {
        name: (np.float32(low), np.float32(high))
        for name, (low, high) in _tensor_ranges("pixels", steps, ranges).items()
    }
    work = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,  # with int8, ONNX Runtime takes nearly twice as long on x86
        tensors_range=TensorsData(CalibrationMethod.MinMax, known),
        nodes_to_quantize=[],
        nodes_to_exclude=[node.name for node in nodes if node.name.split("/")[0] in float_layers],
        op_types_to_quantize=[operation for operation in QDQRegistry if operation != "Softmax"],
        extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
    )
    work.quantize_model()
    work.model.topological_sort()
    quantised = work.model.model
    _keep_in_float(quantised, float_layers)
    del (
        quantised.metadata_props[:],
        quantised.opset_import[1:],
    )  # what quant_pre_process left, its unused domains too
    onnx.checker.check_model(quantised, full_check=True)
    result = bytes(quantised.SerializeToString(deterministic=True))
    assert_quantised_onnx(result, float_layers)
    return result


def _keep_in_float(model: onnx.ModelProto, layers: Collection[str]) -> None:
    """Put a maximum with the lowest number behind the products of these layers.

    ONNX Runtime quantises the float weights of a product between a DequantizeLinear and a QuantizeLinear when it opens the file,
    all channels with one scale (its WeightBiasQuantization); with another operation in between it does not.
    """
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.name.split("/")[0] in layers:
            [output] = node.output
            node.output[:] = [f"{output}_as_it_is"]
            nodes.append(
                onnx.helper.make_node(
                    "Max", [f"{output}_as_it_is", "lowest"], [output], name=f"{node.name}_as_it_is"
                )
            )
    if len(nodes) > len(model.graph.node):
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(np.array(np.finfo(np.float32).min, np.float32), "lowest")
        )
        del model.graph.node[:]
        model.graph.node.extend(nodes)


def assert_integer_tflite(
    model_file: bytes, io: str = "uint8", float_layers: Collection[str] = ()
) -> None:
    """Raises ValueError naming float tensors outside of `float_layers`, weights with one scale for all channels, input or output of another type."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(model_file))
    [graph] = model.subgraphs
    tensors, kinds = graph.tensors, schema.TensorType
    kind = {"uint8": kinds.UINT8, "int8": kinds.INT8}[io]
    wrong = [
        f"{tensors[i].name.decode()!r} is not {io}"
        for i in (*graph.inputs, *graph.outputs)
        if tensors[i].type != kind
    ]
    if not float_layers:
        wrong += [
            f"float tensor {tensor.name.decode()!r}"
            for tensor in tensors
            if tensor.type in (kinds.FLOAT32, kinds.FLOAT16)
        ]
    for operator in graph.operators:
        operation, output = _operation(model, operator), tensors[operator.outputs[0]]
        if operation in _WEIGHT_AXIS:
            weights = tensors[operator.inputs[1]]
            if weights.type == kinds.INT8 and len(weights.quantization.scale) != output.shape[-1]:
                wrong.append(
                    f"the weights for {output.name.decode()!r} have one scale for {output.shape[-1]} channels"
                )
            if weights.type != kinds.INT8 and not any(
                f"{layer}._" in output.name.decode() for layer in float_layers
            ):
                wrong.append(f"the weights for {output.name.decode()!r} are not int8")
    wrong += _not_built_in(model)
    if wrong:
        raise ValueError(f"not an integer TFLite model: {'; '.join(wrong)}")


def assert_float_tflite(model_file: bytes) -> None:
    """Raises ValueError naming an input or output that is not float32, and operations that an interpreter alone cannot run."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(model_file))
    [graph] = model.subgraphs
    tensors, kinds = graph.tensors, schema.TensorType
    wrong = [
        f"{tensors[i].name.decode()!r} is not float32"
        for i in (*graph.inputs, *graph.outputs)
        if tensors[i].type != kinds.FLOAT32
    ]
    wrong += _not_built_in(model)
    if wrong:
        raise ValueError(f"not a float TFLite model: {'; '.join(wrong)}")


def _not_built_in(model: schema.ModelT) -> list[str]:
    codes = (model.operatorCodes[operator.opcodeIndex] for operator in model.subgraphs[0].operators)
    return [f"operation {code.customCode!r} is not built in" for code in codes if code.customCode]


def assert_float_onnx(model_file: bytes, precision: str) -> None:
    """Raises ValueError naming weights of another type, operations outside of ONNX's own, and an input without a free batch."""
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


def assert_quantised_onnx(model_file: bytes, float_layers: Collection[str] = ()) -> None:
    """Raises ValueError naming every convolution and matrix product outside of `float_layers` with an input that is not quantised."""
    graph = onnx.load_from_string(model_file).graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    products = [
        node
        for node in graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul")
        and node.name.split("/")[0] not in float_layers
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
