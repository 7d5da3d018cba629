"""The TFLite format."""

from __future__ import annotations

import re
from collections.abc import Collection

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from ai_edge_quantizer import quantizer, recipe

from edgecat_export.formats.tensor_ranges import Step, tensor_ranges
from edgecat_export.formats.tflite_metadata import describe
from edgecat_export.formats.tflite_noise import layer_noise
from edgecat_export.formats.tracing import layer_of_tensor, naming_the_layer, traceable
from edgecat_export.quantisation.statistics import Ranges

__all__ = ["describe", "layer_noise", "to_float", "to_int8"]

_WEIGHT_AXIS = {  # of the output channels
    "CONV_2D": 0,
    "DEPTHWISE_CONV_2D": -1,
    "FULLY_CONNECTED": 0,
}


def to_float(folded: keras.Model, precision: str) -> bytes:
    """Return a file of batch 1 and built-in operations only. Raise ExportError.

    Input and output are float32 in either precision.
    """
    converted = _converted(folded, precision)
    check_float(converted)
    return converted


@naming_the_layer("to_tflite")
def _converted(folded: keras.Model, precision: str) -> bytes:
    model, function, pixels = traceable(folded, batch=1)
    holder = tf.Module()
    # The converter makes constants of the variables that it can track.
    holder.variables_of_model = [variable.value for variable in model.variables]
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function(pixels)], holder
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision == "fp16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())


def to_int8(
    folded: keras.Model,
    ranges: Ranges,
    io: str = "uint8",
    float_layers: Collection[str] = (),
) -> bytes:
    """Return a file with int8 activations and int8 weights per channel; see `Converter`.

    Input and output are uint8 or int8. If `ranges["pixels"]` is (-1, 127/128), a uint8 input is
    the photo's own bytes.
    """
    fp32 = bytearray(to_float(folded, "fp32"))
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(fp32))
    recipes = recipe.static_wi8_ai8()
    # The quantizer names an operation by its outputs, which begin with the fused layers' names.
    recipes += [
        {
            "regex": rf"(^|;|/){re.escape(layer)}\._\d+/",
            "operation": "*",
            "algorithm_key": "no_quantize",
            "op_config": {},
        }
        for layer in float_layers
    ]
    quantised = quantizer.Quantizer(fp32, recipes).quantize(
        _statistics(model, ranges), enable_progress_bar=False, enable_progress_report=False
    )
    # Read with the buffers that lie behind the flatbuffer.
    whole = flatbuffer_utils.read_model_from_bytearray(bytearray(quantised.quantized_model))
    if io == "uint8":
        _make_input_and_output_uint8(whole)
    result = bytes(flatbuffer_utils.convert_object_to_bytearray(whole))
    check_integer(result, io, float_layers)
    return result


def _statistics(model: schema.ModelT, ranges: Ranges) -> dict[str, dict[str, np.ndarray]]:
    """Return the lowest and highest values of each tensor, as the quantizer takes them."""
    [graph] = model.subgraphs
    names = [tensor.name.decode() for tensor in graph.tensors]
    tensors = dict(zip(names, graph.tensors, strict=True))
    steps = []
    for operator in graph.operators:
        inputs, output = [names[i] for i in operator.inputs if i >= 0], names[operator.outputs[0]]
        steps.append(Step(_operation(model, operator), inputs, output, layer_of_tensor(output)))
    known = tensor_ranges(names[graph.inputs[0]], steps, ranges)
    statistics = {}
    for name, ends in known.items():
        shape = (1,) * len(tensors[name].shape)
        low, high = (np.full(shape, end, np.float32) for end in ends)
        statistics[name] = {"min": low, "max": high}
    for step in steps:
        if step.operation in _WEIGHT_AXIS:
            kernel, *bias = (_constant(model, tensors[name]) for name in step.inputs[1:])
            axis, input_range = _WEIGHT_AXIS[step.operation], known[step.inputs[0]]
            bound = _weight_bound(kernel, bias[0] if bias else np.zeros(1), axis, input_range)
            statistics[step.inputs[1]] = {"min": -bound, "max": bound}
    return statistics


def _operation(model: schema.ModelT, operator: schema.OperatorT) -> str:
    return str(flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex))


def _constant(model: schema.ModelT, tensor: schema.TensorT) -> np.ndarray:
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32).reshape(tensor.shape)


def _weight_bound(
    kernel: np.ndarray, bias: np.ndarray, axis: int, input_range: tuple[float, float]
) -> np.ndarray:
    """Return the largest weight of each channel, or more where the channel's bias needs more.

    A bias is stored in int32 steps of input scale x weight scale. MobileNets have a few channels
    with tiny weights and a bias that matters: there the steps would be so small that the bias
    overflows.
    """
    others = tuple(i for i in range(kernel.ndim) if i != axis % kernel.ndim)
    largest: np.ndarray = np.abs(kernel).max(others, keepdims=True)
    input_scale = (max(input_range[1], 0) - min(input_range[0], 0)) / 255
    biases = np.abs(bias).reshape(largest.shape if bias.size > 1 else -1)
    for_bias: np.ndarray = 127 * biases / 2**30 / input_scale
    bound: np.ndarray = np.maximum(np.maximum(largest, for_bias), largest.max() * 1e-6)
    return bound.astype(np.float32)


def _make_input_and_output_uint8(model: schema.ModelT) -> None:
    """Add QUANTIZE at both ends, which moves the zero points by 128 and is exact."""
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


def check_integer(model_file: bytes, io: str = "uint8", float_layers: Collection[str] = ()) -> None:
    """Raise ValueError that names what is not integer, or not quantised per channel.

    `float_layers` may have float weights; with some, any activation may be float.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(model_file))
    [graph] = model.subgraphs
    tensors, kinds = graph.tensors, schema.TensorType
    wrong = _ends_of_another_type(graph, {"uint8": kinds.UINT8, "int8": kinds.INT8}[io], io)
    if not float_layers:
        floats = (kinds.FLOAT32, kinds.FLOAT16)
        names = [tensor.name.decode() for tensor in tensors if tensor.type in floats]
        wrong += [f"float tensor {name!r}" for name in names]
    for operator in graph.operators:
        if _operation(model, operator) not in _WEIGHT_AXIS:
            continue
        output, weights = tensors[operator.outputs[0]], tensors[operator.inputs[1]]
        name, channels = output.name.decode(), output.shape[-1]
        if weights.type != kinds.INT8:
            if not any(f"{layer}._" in name for layer in float_layers):
                wrong.append(f"the weights for {name!r} are not int8")
        elif len(weights.quantization.scale) != channels:
            wrong.append(f"the weights for {name!r} have one scale for {channels} channels")
    wrong += _not_built_in(model)
    if wrong:
        raise ValueError(f"not an integer TFLite model: {'; '.join(wrong)}")


def check_float(model_file: bytes) -> None:
    """Raise ValueError that names an input or output that is not float32, or custom operations."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(model_file))
    [graph] = model.subgraphs
    wrong = _ends_of_another_type(graph, schema.TensorType.FLOAT32, "float32")
    wrong += _not_built_in(model)
    if wrong:
        raise ValueError(f"not a float TFLite model: {'; '.join(wrong)}")


def _ends_of_another_type(graph: schema.SubGraphT, kind: int, name: str) -> list[str]:
    ends = [graph.tensors[i] for i in (*graph.inputs, *graph.outputs)]
    return [f"{end.name.decode()!r} is not {name}" for end in ends if end.type != kind]


def _not_built_in(model: schema.ModelT) -> list[str]:
    codes = (model.operatorCodes[operator.opcodeIndex] for operator in model.subgraphs[0].operators)
    return [f"operation {code.customCode!r} is not built in" for code in codes if code.customCode]
