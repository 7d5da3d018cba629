"""tflite-runtime: frozen at 2.14, and the only choice on 32-bit Raspberry Pi OS."""

from __future__ import annotations

from pathlib import Path

import tflite_runtime
from tflite_runtime.interpreter import Interpreter

from edgecat.engines.tflite import TFLiteEngine


def open_model(path: Path, threads: int, device: str = "cpu") -> TFLiteEngine:
    return TFLiteEngine(Interpreter, f"tflite-runtime {tflite_runtime.__version__}", path, threads)
