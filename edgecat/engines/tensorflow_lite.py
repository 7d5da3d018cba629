"""The interpreter inside TensorFlow, used if nothing smaller is installed."""

from __future__ import annotations

import warnings
from pathlib import Path

import tensorflow

from edgecat.engines.tflite import TFLiteEngine


def open_model(path: Path, threads: int, device: str = "cpu") -> TFLiteEngine:
    with warnings.catch_warnings():
        # It recommends LiteRT, which edgecat uses if it is installed.
        warnings.filterwarnings("ignore", message=r"(?s).*tf\.lite\.Interpreter is deprecated")
        return TFLiteEngine(
            tensorflow.lite.Interpreter, f"TensorFlow {tensorflow.__version__}", path, threads
        )
