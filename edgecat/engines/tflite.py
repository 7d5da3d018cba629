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
            raise EngineError(f"{path}: {name} cannot open this model ({str(error).strip().splitlines()[0]}); export it anew") from error
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise EngineError(f"{path}: {len(inputs)} inputs and {len(outputs)} outputs; expected an image classifier with one of each")
        self.input, self.output = _spec(inputs[0]), _spec(outputs[0])
        self._interpreter = interpreter
        self._input_index, self._output_index = inputs[0]["index"], outputs[0]["index"]

    def run(self, tensor: Tensor) -> Tensor:
        self._interpreter.set_tensor(self._input_index, tensor[np.newaxis])
        self._interpreter.invoke()
        scores: Tensor = self._interpreter.get_tensor(self._output_index)[0]  # a copy
        return scores

    def close(self) -> None:
        self._interpreter = None


def _spec(details: dict[str, Any]) -> TensorSpec:
    scale, zero_point = details["quantization"]
    return TensorSpec(tuple(int(n) for n in details["shape"]), np.dtype(details["dtype"]), float(scale), int(zero_point))
