"""tflite-runtime: frozen at 2.14, and the only choice on 32-bit Raspberry Pi OS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tflite_runtime
from tflite_runtime.interpreter import Interpreter

from edgecat.engines.tflite import TFLiteEngine
from edgecat.errors import EngineError

NAME = f"tflite-runtime {tflite_runtime.__version__}"


def open_model(path: Path, threads: int, device: str = "cpu") -> TFLiteEngine:
    if int(np.__version__.split(".")[0]) >= 2:  # it imports all the same, then prints a page and raises SystemError
        raise EngineError(f"{NAME} was built for NumPy 1 and cannot run with NumPy {np.__version__}; install one that fits with: pip install 'numpy<2'")
    return TFLiteEngine(Interpreter, NAME, path, threads)
