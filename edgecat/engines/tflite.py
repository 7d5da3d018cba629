"""What LiteRT, tflite-runtime and TensorFlow's interpreter have in common: all of it but the import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgecat.engines import Tensor, TensorSpec
from edgecat.errors import EngineError


class TFLiteEngine:
    """A .tflite model in an interpreter of the classic TFLite API."""

    def __init__(self, interpreter_class: Any, name: str, path: Path, threads: int) -> None:
        self.name = name
        try:
            interpreter = interpreter_class(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"{path}: {name} cannot open this model ({str(error).strip().splitlines()[0]}); copy or export it anew") from error
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise EngineError(f"{path}: {len(inputs)} inputs and {len(outputs)} outputs; expected an image classifier with one of each")
        self.input, self.output = _spec(inputs[0]), _spec(outputs[0])
        self._interpreter = interpreter
        self._input_index, self._output_index = inputs[0]["index"], outputs[0]["index"]

    def run(self, tensor: Tensor) -> Tensor:
        if 0 in self.input.shape:  # from the second photo on the interpreter finds nothing to change
            self._interpreter.resize_tensor_input(self._input_index, (1, *tensor.shape))
            self._interpreter.allocate_tensors()
        self._interpreter.set_tensor(self._input_index, tensor[np.newaxis])
        self._interpreter.invoke()
        scores: Tensor = self._interpreter.get_tensor(self._output_index).reshape(-1)  # of a copy
        return scores

    def close(self) -> None:
        self._interpreter = None


def _spec(details: dict[str, Any]) -> TensorSpec:
    scale, zero_point = details["quantization"]
    batch, *shape = map(int, details["shape"]) if len(details["shape"]) else (0,)
    free = [n < 0 for n in details.get("shape_signature", details["shape"])[1:]]
    return TensorSpec(
        (batch, *(0 if any_length else n for n, any_length in zip(shape, free, strict=True))), np.dtype(details["dtype"]), float(scale), int(zero_point)
    )
