"""tflite-runtime: frozen at 2.14, and the only choice on 32-bit Raspberry Pi OS."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tflite_runtime
from tflite_runtime.interpreter import Interpreter

from edgecat.engines.tflite import TFLiteEngine
from edgecat.errors import EngineError

NAME = f"tflite-runtime {tflite_runtime.__version__}"


def open_model(path: Path, threads: int, device: str = "cpu") -> TFLiteEngine:
    # With NumPy 2 its import succeeds; later it prints a page and raises SystemError.
    if int(np.__version__.split(".")[0]) >= 2:
        raise EngineError(
            f"{NAME} was built for NumPy 1 and cannot run with NumPy {np.__version__}; "
            "install one that fits with: pip install 'numpy<2'"
        )
    if not _whole(path.read_bytes()):  # unlike LiteRT it does not check, and crashes
        raise EngineError(
            f"{path}: {NAME} cannot open this model (The model is not a valid Flatbuffer buffer); "
            "copy or export it again"
        )
    return TFLiteEngine(Interpreter, NAME, path, threads)


def _whole(content: bytes) -> bool:
    """Return whether the network's tables and weights lie within the file.

    In a truncated copy they do not.
    """
    try:
        (root,) = struct.unpack_from("<I", content)
        for subgraph in _tables(content, root, 2):
            for field in (0, 3):  # tensors, operators
                for _ in _tables(content, subgraph, field):
                    pass
        return all(
            _vector(content, buffer, 0)[1] <= len(content) for buffer in _tables(content, root, 4)
        )
    except struct.error:
        return False


def _tables(content: bytes, table: int, field: int) -> Iterator[int]:
    """Yield the offsets of a vector's tables. Raise struct.error if one lies outside."""
    start, end = _vector(content, table, field)
    for place in range(start, start + 4 * (end - start), 4):
        found = place + struct.unpack_from("<I", content, place)[0]
        struct.unpack_from("<HH", content, found - struct.unpack_from("<i", content, found)[0])
        yield found


def _vector(content: bytes, table: int, field: int) -> tuple[int, int]:
    """Return where a vector starts, and that plus its number of elements.

    Raise struct.error if it lies outside the file.
    """
    slots = table - struct.unpack_from("<i", content, table)[0]
    slot = 4 + 2 * field
    offset = (
        struct.unpack_from("<H", content, slots + slot)[0]
        if slot < struct.unpack_from("<H", content, slots)[0]
        else 0
    )
    if not offset:
        return 0, 0
    start = table + offset + struct.unpack_from("<I", content, table + offset)[0]
    return start + 4, start + 4 + struct.unpack_from("<I", content, start)[0]
