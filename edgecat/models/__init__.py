"""Where the model is that comes along; apart, so that to import edgecat is not to import pathlib too."""

from __future__ import annotations

from pathlib import Path

DEFAULT_MODEL = Path(__file__).parent / "catdog-int8.tflite"
