"""The noise of each layer inside an int8 TFLite file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgecat_export.formats.tracing import layer_of_tensor
from edgecat_export.quantisation.layer_noise import decibels, output_layer
from edgecat_export.quantisation.observation import WEIGHTED, Array


def layer_noise(file: Path, folded: keras.Model, photos: Array) -> Mapping[str, float]:
    """Return the signal-to-noise ratio (dB) of each weighted layer's output in the file.

    It includes the noise of all layers before it. `photos` are normalised.
    """
    interpreter = _open(file)
    tensors = _outputs_of_layers(interpreter, folded)
    layers = [
        layer
        for layer in folded.layers
        if layer.name in tensors
        and layer.output.shape[1:] == tuple(tensors[layer.name]["shape"][1:])
    ]
    expected = keras.Model(folded.input, [layer.output for layer in layers])
    signal, noise = np.zeros(len(layers)), np.zeros(len(layers))
    for photo in photos:
        _run(interpreter, photo[None])
        outputs = expected.predict_on_batch(photo[None])
        for number, (layer, values) in enumerate(zip(layers, outputs, strict=True)):
            error = _values(interpreter, tensors[layer.name]) - values
            signal[number] += np.square(values).sum()
            noise[number] += np.square(error).sum()
    ratios = {
        layer.name: decibels(float(noise[number] / max(signal[number], 1e-20)))
        for number, layer in enumerate(layers)
    }
    return {
        layer.name: ratios[output_layer(layer)]
        for layer in folded.layers
        if isinstance(layer, WEIGHTED) and output_layer(layer) in ratios
    }


def _open(file: Path) -> Any:
    with warnings.catch_warnings():
        # LiteRT warns that keeping all tensors is for debugging, which this is.
        warnings.simplefilter("ignore", UserWarning)
        interpreter = Interpreter(
            str(file),
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    interpreter.allocate_tensors()
    return interpreter


def _outputs_of_layers(interpreter: Any, folded: keras.Model) -> dict[str, Any]:
    """Return the details of the last tensor of each layer, its output."""
    names = {layer.name for layer in folded.layers}
    tensors = {}
    for tensor in interpreter.get_tensor_details():
        layer, shape = layer_of_tensor(tensor["name"]), tensor["shape"]
        if (
            layer is not None
            and layer in names
            and len(shape)
            and shape[0] == 1
            and tensor["dtype"] != np.int32
        ):
            tensors[layer] = tensor
    return tensors


def _run(interpreter: Any, photo: Array) -> None:
    details = interpreter.get_input_details()[0]
    scale, zero_point = details["quantization"]
    if scale:
        limits = np.iinfo(details["dtype"])
        steps = np.rint(photo / scale + zero_point)
        photo = np.clip(steps, limits.min, limits.max).astype(details["dtype"])
    interpreter.set_tensor(details["index"], photo)
    interpreter.invoke()


def _values(interpreter: Any, details: Any) -> Array:
    """Return a tensor as float32."""
    scale, zero_point = details["quantization"]
    values: Array = interpreter.get_tensor(details["index"]).astype(np.float32)
    return (values - zero_point) * scale if scale else values
