"""ONNX Runtime, for .onnx files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from edgecat.engines import Tensor, TensorSpec
from edgecat.errors import EngineError

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
_EXPECTED = "one input of float32, float16 or uint8 and one output of float32 or float16"


class ONNXEngine:
    """An .onnx model on the CPU."""

    def __init__(self, path: Path, threads: int) -> None:
        self.name = f"ONNX Runtime {onnxruntime.__version__}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Without VNNI, ONNX Runtime's fast int8 products overflow 16 bits: an ImageNet MobileNet lost 12 of 100 right answers. This forbids them.
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors share no other parent
            raise EngineError(f"{path}: {self.name} cannot open this model ({str(error).strip().splitlines()[0]}); copy or export it anew") from error
        inputs, outputs = session.get_inputs(), session.get_outputs()
        kinds = [value.type for value in (*inputs, *outputs)]
        if len(inputs) != 1 or len(outputs) != 1 or not set(kinds) <= set(_DTYPES):
            raise EngineError(f"{path}: {len(inputs)} inputs and {len(outputs)} outputs ({', '.join(kinds)}); expected an image classifier, {_EXPECTED}")
        self.input, self.output = (TensorSpec(_shape(value.shape), np.dtype(_DTYPES[value.type])) for value in (inputs[0], outputs[0]))
        self._session = session
        self._input_name = inputs[0].name

    def run(self, tensor: Tensor) -> Tensor:
        scores: Tensor = self._session.run(None, {self._input_name: tensor[np.newaxis]})[0].reshape(-1)
        return scores

    def close(self) -> None:
        self._session = None


def _shape(dimensions: list[int | str | None]) -> tuple[int, ...]:
    """With 1 for a free batch, 3 for what is named as the channels, and 0 for other free dimensions."""
    named = (3 if isinstance(n, str) and "channel" in n else n if isinstance(n, int) else 0 for n in dimensions[1:])
    return (dimensions[0] if isinstance(dimensions[0], int) else 1, *named) if dimensions else (0,)


def open_model(path: Path, threads: int) -> ONNXEngine:
    return ONNXEngine(path, threads)
