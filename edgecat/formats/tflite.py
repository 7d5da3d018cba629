"""A .tflite has a zip at its end with the card, beside the standard metadata's associated files."""

from __future__ import annotations

import io

from edgecat.card import ModelCard
from edgecat.formats.archive import ZIP_NAME, find_card, unzip, zipped

__all__ = ["associated_files", "container", "find_card"]


def associated_files(model: bytes) -> dict[str, bytes]:
    """Return the files in the zip at the end of a model; none without a zip or if it is broken."""
    return unzip(io.BytesIO(model))[1]


def container(model: bytes, card: ModelCard, labels_name: str | None) -> bytes:
    """Return the zip to put at the end: the model's associated files, the labels and the card."""
    files = associated_files(model)
    if labels_name is not None:
        files[labels_name] = "".join(f"{label}\n" for label in card.labels).encode()
    return zipped(files | {ZIP_NAME: card.to_json().encode()})
