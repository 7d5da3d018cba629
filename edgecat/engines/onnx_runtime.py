"""ONNX Runtime, for .onnx files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from edgecat.engines import Tensor, TensorSpec
from edgecat.errors import EngineError

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
_EXPECTED = "one input of float32, float16 or uint8 and one output of float32 or float16"

# device -> its execution provider, and how to install it
_PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "pip install 'edgecat[onnx]'"),
    "cuda": (
        "CUDAExecutionProvider",
        "pip install onnxruntime-gpu in place of onnxruntime, and NVIDIA's CUDA and cuDNN",
    ),
    "tensorrt": (
        "TensorrtExecutionProvider",
        "pip install onnxruntime-gpu in place of onnxruntime, and NVIDIA's TensorRT",
    ),
    "coreml": ("CoreMLExecutionProvider", "pip install onnxruntime on macOS"),
    "directml": (
        "DmlExecutionProvider",
        "pip install onnxruntime-directml in place of onnxruntime, on Windows",
    ),
}
_GPU = ("cuda", "coreml", "directml")


class ONNXEngine:
    """An .onnx model."""

    def __init__(self, path: Path, threads: int, device: str) -> None:
        self.name = f"ONNX Runtime {onnxruntime.__version__}"
        self.runs_on = _provider(device)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Without VNNI, ONNX Runtime's fast int8 products overflow 16 bits; this forbids them.
        # An ImageNet MobileNet lost 12 % of its right answers.
        options.add_session_config_entry("session.x64quantprecision", "1")
        if device != "cpu":
            # Else what the device cannot compute runs on the CPU without a warning.
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=[self.runs_on])
            if session.get_providers()[0] != self.runs_on:
                raise EngineError(
                    f"{path}: {self.name} fell back from {self.runs_on} to "
                    f"{session.get_providers()[0]}; expected {device} alone"
                )
        except EngineError:
            raise
        except Exception as error:  # its errors share no other parent
            if device != "cpu":
                reason = str(error).strip().splitlines()[0]
                raise EngineError(
                    f"{path}: {self.name} cannot run all of this model on {device} ({reason}); "
                    "use --device cpu"
                ) from error
            raise EngineError(
                f"{path}: {self.name} cannot open this model "
                f"({str(error).strip().splitlines()[0]}); copy or export it again"
            ) from error
        inputs, outputs = session.get_inputs(), session.get_outputs()
        kinds = [value.type for value in (*inputs, *outputs)]
        if len(inputs) != 1 or len(outputs) != 1 or not set(kinds) <= set(_DTYPES):
            raise EngineError(
                f"{path}: {len(inputs)} inputs and {len(outputs)} outputs ({', '.join(kinds)}); "
                f"expected an image classifier, {_EXPECTED}"
            )
        self.input, self.output = (
            TensorSpec(_shape(value.shape), np.dtype(_DTYPES[value.type]))
            for value in (inputs[0], outputs[0])
        )
        self._session = session
        self._input_name = inputs[0].name

    def run(self, tensors: Tensor) -> Tensor:
        try:
            scores: Tensor = self._session.run(None, {self._input_name: tensors})[0].reshape(
                len(tensors), -1
            )
        except InvalidArgument as error:
            raise EngineError(
                f"the model does not take {' x '.join(map(str, tensors.shape))} "
                f"({str(error).strip().splitlines()[0]})"
            ) from error
        return scores

    def close(self) -> None:
        self._session = None


def _shape(dimensions: list[int | str | None]) -> tuple[int, ...]:
    """Return the shape, with 1 for a free batch, 3 for free channels, 0 for other free sizes."""
    named = (
        3 if isinstance(n, str) and "channel" in n else n if isinstance(n, int) else 0
        for n in dimensions[1:]
    )
    return (dimensions[0] if isinstance(dimensions[0], int) else 1, *named) if dimensions else (0,)


def _provider(device: str) -> str:
    """Return the execution provider of `device`. Raise EngineError."""
    available = onnxruntime.get_available_providers()
    wanted = _GPU if device == "gpu" else (device,)
    for name in wanted:
        if _PROVIDERS[name][0] in available:
            return _PROVIDERS[name][0]
    install = "; or ".join(dict.fromkeys(_PROVIDERS[name][1] for name in wanted))
    raise EngineError(
        f"device '{device}' is not in this ONNX Runtime, which has {', '.join(available)}; "
        f"{install}"
    )


def open_model(path: Path, threads: int, device: str = "cpu") -> ONNXEngine:
    return ONNXEngine(path, threads, device)
