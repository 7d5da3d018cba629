"""LiteRT, the successor of tflite-runtime: the default engine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ai_edge_litert
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgecat.engines import Tensor
from edgecat.engines.tflite import TFLiteEngine
from edgecat.errors import EngineError
from edgecat.printed import printed_by_libraries

NAME = f"LiteRT {ai_edge_litert.__version__}"


class CompiledEngine:
    """A .tflite model on LiteRT's GPU accelerator."""

    def __init__(self, path: Path, threads: int) -> None:
        from ai_edge_litert.compiled_model import (
            CompiledModel,
            CpuOptions,
            HardwareAccelerator,
            Options,
        )

        self.name, self.runs_on = NAME, "GPU"
        # Only the interpreter knows all shapes and scales.
        described = TFLiteEngine(Interpreter, NAME, path, threads)
        self.input, self.output = described.input, described.output
        options = Options(
            hardware_accelerators=HardwareAccelerator.GPU,
            cpu_options=CpuOptions(num_threads=threads),
        )
        with printed_by_libraries() as printed:
            try:
                model = CompiledModel.from_file(str(path), options=options)
            except RuntimeError:
                model = None
        if model is None:
            raise EngineError(
                f"{path}: {NAME} finds no GPU that takes this model ({_reason(printed)}); "
                "install the GPU's Vulkan driver, or use --device cpu"
            )
        if not model.is_fully_accelerated():
            raise EngineError(
                f"{path}: {NAME} left parts of this model to the CPU; "
                "use --device cpu, or an fp32 or fp16 file"
            )
        (self._key,) = model.get_signature_list()
        ends = model.get_signature_list()[self._key]
        self._inputs = {
            name: model.create_input_buffer_by_name(self._key, name) for name in ends["inputs"]
        }
        self._outputs = {
            name: model.create_output_buffer_by_name(self._key, name) for name in ends["outputs"]
        }
        self._model: Any = model

    def run(self, tensors: Tensor) -> Tensor:
        if len(tensors) != 1:
            raise EngineError(
                f"the model does not take {' x '.join(map(str, tensors.shape))} "
                "(on a GPU LiteRT runs one photo at a time)"
            )
        ((_, input_buffer),), ((_, output_buffer),) = self._inputs.items(), self._outputs.items()
        input_buffer.write(np.ascontiguousarray(tensors))
        self._model.run_by_name(self._key, self._inputs, self._outputs)
        scores: Tensor = np.asarray(
            output_buffer.read(int(np.prod(self.output.shape)), self.output.dtype.type)
        ).reshape(1, -1)
        return scores

    def close(self) -> None:
        self._model = None


def _reason(printed: Sequence[str]) -> str:
    """Return the first error among the printed lines."""
    matches = (re.match(r"ERROR: \[.*?\] (.+)", line) for line in printed)
    errors = (match[1] for match in matches if match)
    return next(errors, "it does not say why")


def open_model(path: Path, threads: int, device: str = "cpu") -> CompiledEngine | TFLiteEngine:
    return (
        CompiledEngine(path, threads)
        if device == "gpu"
        else TFLiteEngine(Interpreter, NAME, path, threads)
    )
