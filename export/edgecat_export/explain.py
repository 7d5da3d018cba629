"""What int8 costs each layer, as signal-to-noise ratios: of 10 dB more, the noise is a tenth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgecat_export.calibrate import WEIGHTED, Array, Outputs, quantised, quantised_kernel
from edgecat_export.convert import layer_of_tensor
from edgecat_export.names import Ranges


class _Power(keras.layers.Layer):  # type: ignore[misc]
    """Sums of squares, of a signal and of another's difference to it, for each photo."""

    def call(self, pair: Any) -> tuple[Any, Any]:
        signal, other = pair
        axes = tuple(range(1, len(signal.shape)))
        return keras.ops.sum(keras.ops.square(signal), axis=axes), keras.ops.sum(
            keras.ops.square(other - signal), axis=axes
        )


def noise(
    folded: keras.Model, observed: Mapping[str, Outputs], ranges: Ranges, photos: Array
) -> dict[str, float]:
    """Signal-to-noise ratio (dB) of each layer with weights if it alone were int8, its weights and its output; worst first.

    `photos` are normalised, (photos, height, width, 3).
    """
    weighted = [layer for layer in folded.layers if isinstance(layer, WEIGHTED)]
    powers = []
    for layer in weighted:
        rounded = type(layer).from_config(layer.get_config() | {"name": f"{layer.name}.int8"})
        powers.append(_Power(name=f"{layer.name}.power")([layer.output, rounded(layer.input)]))
        rounded.set_weights([quantised_kernel(layer), layer.get_weights()[1]])
    measured = keras.Model(folded.input, powers).predict(photos, batch_size=16, verbose=0)
    in_weights = {
        layer.name: float(lost.sum() / max(signal.sum(), 1e-20))
        for layer, (signal, lost) in zip(weighted, measured, strict=True)
    }
    ratios = {}
    for layer in weighted:
        output = _output_layer(layer)
        values = observed[output].sample
        in_output = float(
            np.square(quantised(values, *ranges[output]) - values).mean()
            / max(float(np.square(values).mean()), 1e-20)
        )
        ratios[layer.name] = _decibels(in_weights[layer.name] + in_output)
    return dict(sorted(ratios.items(), key=lambda item: item[1]))


def noise_in_tflite(file: Path, folded: keras.Model, photos: Array) -> dict[str, float]:
    """Signal-to-noise ratio (dB) of each weighted layer's output in an int8 file as written: of its own rounding and all before it."""
    import warnings

    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # that all tensors are kept is for debugging, which this is
        inside = Interpreter(
            str(file),
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    inside.allocate_tensors()
    read = inside.get_input_details()[0]
    tensors = {}
    for tensor in inside.get_tensor_details():  # the last of a layer is what it puts out
        layer = layer_of_tensor(tensor["name"])
        if (
            layer in {known.name for known in folded.layers}
            and len(tensor["shape"])
            and tensor["shape"][0] == 1
            and tensor["dtype"] != np.int32
        ):
            tensors[layer] = tensor
    layers = [
        layer
        for layer in folded.layers
        if layer.name in tensors
        and layer.output.shape[1:] == tuple(tensors[layer.name]["shape"][1:])
    ]
    wanted = keras.Model(folded.input, [layer.output for layer in layers])
    signal, lost = np.zeros(len(layers)), np.zeros(len(layers))
    scale, zero_point = read["quantization"]
    for photo in photos:
        tensor = (
            photo[None]
            if not scale
            else np.clip(np.rint(photo[None] / scale + zero_point), *_limits(read["dtype"])).astype(
                read["dtype"]
            )
        )
        inside.set_tensor(read["index"], tensor)
        inside.invoke()
        for number, (layer, values) in enumerate(
            zip(layers, wanted.predict_on_batch(photo[None]), strict=True)
        ):
            details = tensors[layer.name]
            step, zero = details["quantization"]
            found = inside.get_tensor(details["index"]).astype(np.float32)
            signal[number] += np.square(values).sum()
            lost[number] += np.square(
                (found - zero) * step - values if step else found - values
            ).sum()
    ratios = {
        layer.name: _decibels(float(lost[i] / max(signal[i], 1e-20)))
        for i, layer in enumerate(layers)
    }
    return {
        layer.name: ratios[_output_layer(layer)]
        for layer in folded.layers
        if isinstance(layer, WEIGHTED) and _output_layer(layer) in ratios
    }


def _output_layer(layer: keras.Layer) -> str:
    """The activation that is fused into a weighted layer, or the layer itself."""
    after = [node.operation for node in layer._outbound_nodes]
    return str(
        after[0].name if len(after) == 1 and isinstance(after[0], keras.layers.ReLU) else layer.name
    )


def _limits(dtype: Any) -> tuple[int, int]:
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def _decibels(noise_to_signal: float) -> float:
    return round(-10 * float(np.log10(noise_to_signal + 1e-12)), 1)
