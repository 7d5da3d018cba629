"""LiteRT, tflite-runtime's living successor: the default engine."""

from __future__ import annotations

from pathlib import Path

import ai_edge_litert
from ai_edge_litert.interpreter import Interpreter

from edgecat.engines.tflite import TFLiteEngine


def open_model(path: Path, threads: int) -> TFLiteEngine:
    return TFLiteEngine(Interpreter, f"LiteRT {ai_edge_litert.__version__}", path, threads)
