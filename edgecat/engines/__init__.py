"""Engines, which open and run model files: one file each.

An engine library is imported when a model is opened, never before.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from edgecat.errors import EngineError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

Tensor: TypeAlias = "npt.NDArray[Any]"


class TensorSpec(NamedTuple):
    """A model's input or output.

    A real value is `scale * (integer - zero_point)`; with scale 0, the value itself.
    """

    shape: tuple[int, ...]  # with the batch, 1; 0 where any length will do
    dtype: np.dtype[Any]
    scale: float = 0.0
    zero_point: int = 0

    @property
    def channels_first(self) -> bool:
        """Whether an input is (1, 3, height, width), PyTorch's order."""
        return len(self.shape) == 4 and self.shape[1] == 3 and self.shape[3] != 3

    @property
    def photo_shape(self) -> tuple[int, ...]:
        """An input's shape as (1, height, width, 3), whatever its order."""
        return (
            tuple(self.shape[axis] for axis in (0, 2, 3, 1)) if self.channels_first else self.shape
        )


class Engine(Protocol):
    """An open model. Not safe for two threads at once; Classifier ensures this."""

    name: str  # library and version
    input: TensorSpec  # (1, height, width, 3) or (1, 3, height, width)
    output: TensorSpec  # (1, classes), or with more ones between

    def run(self, tensors: Tensor) -> Tensor:
        """Return the model's raw output, (batch, classes).

        `tensors`: (batch, height, width, 3) or (batch, 3, height, width) in the input's dtype.
        Raise EngineError if the model does not take this batch size.
        """
        ...

    @property
    def runs_on(self) -> str:
        """The execution provider, delegate or accelerator that was proven to compute."""
        ...

    def close(self) -> None: ...


class EngineLibrary(NamedTuple):
    """An engine that may be installed."""

    # Of edgecat.engines. Its `open_model` takes a path, a number of threads and a device.
    module: str
    library: str  # the package it imports
    install: str
    devices: tuple[str, ...] = ("cpu",)
    formats: tuple[str, ...] = ("tflite",)


# The best first.
ENGINES = {
    "litert": EngineLibrary(
        "litert", "ai_edge_litert", "pip install ai-edge-litert", ("cpu", "gpu")
    ),
    "tflite-runtime": EngineLibrary(
        "tflite_runtime", "tflite_runtime", "pip install 'edgecat[tflite-runtime]'"
    ),
    "tensorflow": EngineLibrary("tensorflow_lite", "tensorflow", "pip install 'edgecat[export]'"),
    "onnxruntime": EngineLibrary(
        "onnx_runtime",
        "onnxruntime",
        "pip install 'edgecat[onnx]'",
        ("cpu", "gpu", "cuda", "tensorrt", "coreml", "directml"),
        ("onnx",),
    ),
}
DEVICES = tuple(dict.fromkeys(device for library in ENGINES.values() for device in library.devices))


def choose_engine(model_format: str, wanted: str | None = None, device: str = "cpu") -> str:
    """Return `wanted`, or the first installed engine for the format. Raise EngineError."""
    if device not in DEVICES:
        raise EngineError(f"unknown device '{device}'; expected one of {', '.join(DEVICES)}")
    fitting = tuple(name for name, row in ENGINES.items() if model_format in row.formats)
    if wanted is not None:
        if wanted not in ENGINES:
            raise EngineError(f"unknown engine '{wanted}'; expected one of {', '.join(ENGINES)}")
        if wanted not in fitting:
            raise EngineError(
                f"engine '{wanted}' does not run .{model_format} files; "
                f"expected {' or '.join(fitting)}"
            )
        fitting = (wanted,)
    on_device = tuple(name for name in fitting if device in ENGINES[name].devices)
    if not on_device:
        known = dict.fromkeys(known for name in fitting for known in ENGINES[name].devices)
        raise EngineError(
            f"device '{device}' is none of {wanted or f'the engines for .{model_format} files'}; "
            f"expected {' or '.join(known)}"
        )
    fitting = on_device
    for name in fitting:
        if importlib.util.find_spec(ENGINES[name].library) is not None:
            return name
    raise EngineError(
        f"no engine for .{model_format} files is installed; "
        f"install one with: {ENGINES[fitting[0]].install}"
    )


def open_engine(path: Path, engine: str, threads: int, device: str = "cpu") -> Engine:
    """Open a model file. Raise EngineError, also if anything but `device` would compute."""
    found = ENGINES[engine]
    try:
        module = importlib.import_module(f"edgecat.engines.{found.module}")
        opened: Engine = module.open_model(path, threads, device)
    except ImportError as error:  # present but broken, such as a wheel built for another NumPy
        raise EngineError(
            f"engine '{engine}' cannot be imported ({error}); reinstall it with: {found.install}"
        ) from error
    return opened


def default_threads() -> int:
    """Return the number of cores, at most 4: a small network gains nothing from more."""
    return min(4, cores())


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
