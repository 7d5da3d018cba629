"""TFLiteEngine, shared by LiteRT, tflite-runtime and TensorFlow: all but the import."""

from __future__ import annotations

from collections import Counter
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
            raise EngineError(
                f"{path}: {name} cannot open this model ({str(error).strip().splitlines()[0]}); "
                "copy or export it again"
            ) from error
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise EngineError(
                f"{path}: {len(inputs)} inputs and {len(outputs)} outputs; "
                "expected an image classifier with one of each"
            )
        self.input, self.output = _spec(inputs[0]), _spec(outputs[0])
        self._interpreter = interpreter
        self._input_index, self._output_index = inputs[0]["index"], outputs[0]["index"]
        self._shape = tuple(map(int, inputs[0]["shape"]))

    def run(self, tensors: Tensor) -> Tensor:
        if tensors.shape != self._shape:
            self._resize(tensors.shape)
        self._interpreter.set_tensor(self._input_index, tensors)
        self._interpreter.invoke()
        scores: Tensor = self._interpreter.get_tensor(self._output_index)  # a copy
        return scores.reshape(len(tensors), -1)

    def _resize(self, shape: tuple[int, ...]) -> None:
        self._shape = ()
        try:
            self._interpreter.resize_tensor_input(self._input_index, shape)
            self._interpreter.allocate_tensors()
            if self._interpreter.get_output_details()[0]["shape"][0] != shape[0]:
                raise RuntimeError("its output is for one alone")
        except (ValueError, RuntimeError) as error:
            raise EngineError(
                f"the model does not take {' x '.join(map(str, shape))} "
                f"({str(error).strip().splitlines()[0]})"
            ) from error
        self._shape = shape

    @property
    def runs_on(self) -> str:
        """XNNPACK, and the operations that it left to TFLite's own kernels.

        These are the operations on the path from the output back to the input.
        """
        if not hasattr(self._interpreter, "_get_ops_details"):
            return "not told"
        makers = {  # delegates are last
            made: operation
            for operation in self._interpreter._get_ops_details()
            for made in operation["outputs"]
        }
        left: Counter[str] = Counter()
        needed, seen = [self._output_index], {self._input_index}
        while needed:
            tensor = needed.pop()
            if tensor not in seen and tensor in makers:
                left[makers[tensor]["op_name"]] += 1
                needed += makers[tensor]["inputs"].tolist()
            seen.add(tensor)
        delegates = left.pop("DELEGATE", 0)
        kernels = (
            f"TFLite: {', '.join(f'{count} {name}' for name, count in left.most_common())}"
            if left
            else ""
        )
        return "; ".join(filter(None, ["XNNPACK" if delegates else "", kernels]))

    def close(self) -> None:
        self._interpreter = None


def _spec(details: dict[str, Any]) -> TensorSpec:
    scale, zero_point = details["quantization"]
    batch, *shape = map(int, details["shape"]) if len(details["shape"]) else (0,)
    free = [n < 0 for n in details.get("shape_signature", details["shape"])[1:]]
    return TensorSpec(
        (batch, *(0 if any_length else n for n, any_length in zip(shape, free, strict=True))),
        np.dtype(details["dtype"]),
        float(scale),
        int(zero_point),
    )
