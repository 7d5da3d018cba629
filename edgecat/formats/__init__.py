"""Model files and checkpoints: which format a file has, and the model card inside it.

Each format has a module. Its `find_card(file)` returns the number of bytes before the card's
container, and the card as JSON or None.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import io
from typing import IO, TYPE_CHECKING, Any

from edgecat.card import ModelCard
from edgecat.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

LABELS_NAME = "labels.txt"


def detect(path: Path) -> str:
    """Return 'tflite', 'onnx' or 'keras', judged by the content. Raise ModelError."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such model file") from None
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
    if head[4:8] == b"TFL3":
        return "tflite"
    if head[:4] == b"PK\x03\x04" and path.suffix == ".keras":
        return "keras"
    if head[:1] == b"\x08" and path.suffix == ".onnx":  # field 1 of the protobuf, ir_version
        return "onnx"
    raise ModelError(f"{path}: not a model file; expected .tflite or .onnx")


def read_card(path: Path) -> ModelCard:
    """Return the card of a model file or checkpoint, checked against the file's bytes.

    Raise ModelError if there is no card, or if the file is damaged.
    """
    card = find_card(path)
    if card is None:
        maker = "train" if detect(path) == "keras" else "export"
        raise ModelError(
            f"{path}: no labels inside; the file is cut short or was not made by 'edgecat {maker}'"
        )
    return card


def find_card(path: Path) -> ModelCard | None:
    """Do as `read_card` does, but return None for files without a card."""
    kind = detect(path)
    with path.open("rb") as file:  # streamed: a small board has better uses for its memory
        start, text = _module(kind).find_card(file)
        if text is None:
            return None
        card = ModelCard.from_json(text, str(path))
        if card.sha256 and kind != "keras" and _sha256(file, start) != card.sha256:
            raise ModelError(
                f"{path}: damaged, its bytes are not those that were exported; "
                "copy or export it again"
            )
    return card


def write_card(model: bytes, card: ModelCard, labels_name: str | None = LABELS_NAME) -> bytes:
    """Return the bytes of a .tflite or .onnx model with the card in it, its sha256 filled.

    An earlier card is replaced; other metadata stay. In a .tflite the labels are also written as
    the associated file `labels_name`, unless that is None.
    """
    module = _module("tflite" if model[4:8] == b"TFL3" else "onnx")
    own_bytes = model[: module.find_card(io.BytesIO(model))[0]]
    card = dataclasses.replace(card, sha256=hashlib.sha256(own_bytes).hexdigest())
    container: bytes = module.container(model, card, labels_name)
    return own_bytes + container


def _module(kind: str) -> Any:
    return importlib.import_module(f"edgecat.formats.{kind}")


def _sha256(file: IO[bytes], length: int) -> str:
    """Return the digest of the first `length` bytes."""
    digest = hashlib.sha256()
    file.seek(0)
    while length and (part := file.read(min(length, 1 << 18))):
        digest.update(part)
        length -= len(part)
    return digest.hexdigest()
