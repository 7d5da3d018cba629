"""ONNX Runtime, for .onnx files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from edgecat.engines import Tensor, TensorSpec
from edgecat.errors import EngineError

_DTYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}


class ONNXEngine:
    """An .onnx model on the CPU, channels last."""

    def __init__(self, path: Path, threads: int) -> None:
        self.name = f"ONNX Runtime {onnxruntime.__version__}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors share no other parent
            raise EngineError(f"{path}: {self.name} cannot open this model ({str(error).strip().splitlines()[0]}); export it anew") from error
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type not in _DTYPES:
            raise EngineError(f"{path}: {len(inputs)} inputs and {len(outputs)} outputs; expected an image classifier with one float32 or uint8 input")
        self.input, self.output = (
            TensorSpec(tuple(n if isinstance(n, int) else 1 for n in value.shape), np.dtype(_DTYPES.get(value.type, np.float32)))
            for value in (inputs[0], outputs[0])
        )
        self._session = session
        self._input_name = inputs[0].name

    def run(self, tensor: Tensor) -> Tensor:
        scores: Tensor = self._session.run(None, {self._input_name: tensor[np.newaxis]})[0][0]
        return scores

    def close(self) -> None:
        self._session = None


def open_model(path: Path, threads: int) -> ONNXEngine:
    return ONNXEngine(path, threads)
