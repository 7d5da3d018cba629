"""The interpreter inside TensorFlow: where nothing smaller is installed."""

from __future__ import annotations

import warnings
from pathlib import Path

import tensorflow

from edgecat.engines.tflite import TFLiteEngine


def open_model(path: Path, threads: int, device: str = "cpu") -> TFLiteEngine:
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r"(?s).*tf\.lite\.Interpreter is deprecated"
        )  # it says to use LiteRT, which is what we do
        return TFLiteEngine(
            tensorflow.lite.Interpreter, f"TensorFlow {tensorflow.__version__}", path, threads
        )
