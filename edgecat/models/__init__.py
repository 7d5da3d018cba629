"""The default model. Its path is here so that `import edgecat` need not import pathlib."""

from __future__ import annotations

from pathlib import Path

DEFAULT_MODEL = Path(__file__).parent / "catdog-int8.tflite"
