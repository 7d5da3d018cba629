"""Look into a model file, whoever made it, without running it."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgecat.card import ModelCard
from edgecat.errors import ModelError
from edgecat.formats import detect, read_card
from edgecat.measure.network.keras import read_keras
from edgecat.measure.network.network import Network
from edgecat.measure.network.onnx import read_onnx
from edgecat.measure.network.tflite import read_tflite

# Format -> its reader, and the package to install if the reader's library is missing.
_READERS: dict[str, tuple[Callable[[Path], Network], str]] = {
    "tflite": (read_tflite, "ai-edge-litert"),
    "onnx": (read_onnx, "onnx"),
    "keras": (read_keras, ""),
}
# What the readers' libraries raise for broken bytes.
_BROKEN = (
    struct.error,
    IndexError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class Inspection:
    """The content of a model file."""

    path: Path
    format: str  # tflite, onnx or keras
    bytes: int
    card: ModelCard | None
    card_missing: str  # why there is no card
    network: Network


def inspect(path: Path) -> Inspection:
    """Return what is inside a model file. Raise ModelError if it cannot be read.

    .tflite files need the package `ai_edge_litert`, .onnx files need `onnx`.
    """
    kind = detect(path)
    card, missing = None, ""
    try:
        card = read_card(path)
    except ModelError as error:
        missing = str(error).removeprefix(f"{path}: ")
    reader, package = _READERS[kind]
    try:
        network = reader(path)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"looking into a .{kind} file needs '{error.name}'; "
            f"install it with: pip install {package}"
        ) from None
    except _BROKEN:
        raise ModelError(
            f"{path}: broken, its network cannot be read; copy or export it again"
        ) from None
    return Inspection(path, kind, path.stat().st_size, card, missing, network)
