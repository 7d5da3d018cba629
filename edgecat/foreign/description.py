"""What is known of a model that edgecat did not make: from its user, and from its file.

.tflite  the standard TFLite metadata
.onnx    the keys of Ultralytics' exports
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgecat.errors import ModelError
from edgecat.foreign.label_file import labels_of_json, parse_labels
from edgecat.foreign.tflite_metadata import (
    label_file_name,
    licence,
    normalisation,
    read_metadata,
)
from edgecat.formats.onnx import onnx_metadata
from edgecat.formats.tflite import associated_files


@dataclass(frozen=True)
class Description:
    """How to use a model that edgecat did not make.

    What is None comes from the file; the user is asked for what the file does not say.
    """

    # A label file, "cat,dog,neither", or the labels, in the order of the outputs.
    labels: str | os.PathLike[str] | Sequence[str] | None = None
    # The input is (pixel - mean) / std, pixel in 0..255; one value for all of RGB, or three.
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    # "squash", "crop" or, with the share of the shorter side to keep (timm's crop_pct),
    # "crop:0.875".
    resize: str | None = None
    size: int | Sequence[int] | None = None  # pixels, or (height, width), if any size will do
    logits: bool | None = None  # whether the outputs need a softmax to be probabilities
    licence: str | None = None


def parse_resize(given: str) -> tuple[Literal["squash", "crop"], float]:
    """Return the rule, and the share that a crop keeps. Raise ValueError."""
    match = re.fullmatch(r"(squash)|crop(?::(0?\.\d+|1(?:\.0*)?))?", given)
    if not match:
        raise ValueError(
            f"resize '{given}', expected squash, crop or, with the share of the shorter side "
            "that it keeps, such as crop:0.875"
        )
    return ("squash", 1.0) if match[1] else ("crop", float(match[2] or 1))


def described_inside(model: bytes, kind: str, source: str) -> Description:
    """Return the description inside a model file. Raise ModelError if it is broken."""
    try:
        return _of_tflite(model, source) if kind == "tflite" else _of_onnx(model, source)
    except (struct.error, IndexError, UnicodeDecodeError):
        raise ModelError(
            f"{source}: damaged, its TFLite metadata point outside the file; "
            "copy or download it again"
        ) from None


def _of_tflite(model: bytes, source: str) -> Description:
    metadata = read_metadata(model)
    if metadata is None:
        return Description()
    name = label_file_name(model)
    labels = associated_files(model).get(name) if name else None
    mean, std = normalisation(metadata)
    return Description(
        labels=None if labels is None else parse_labels(labels, f"{source}: {name}"),
        mean=mean,
        std=std,
        licence=licence(metadata),
    )


def _of_onnx(model: bytes, source: str) -> Description:
    keys = onnx_metadata(model)
    task = keys.get("task", "classify")
    if task != "classify":
        raise ModelError(f"{source}: a model for the task '{task}', expected 'classify'")
    values = {
        key: _python_value(keys[key], f"{source}: {key}")
        for key in ("names", "imgsz", "mean", "std")
        if key in keys
    }
    ultralytics = "names" in keys and "task" in keys and "mean" not in keys
    return Description(
        labels=labels_of_json(values["names"], f"{source}: names") if "names" in values else None,
        mean=values.get("mean", 0.0 if ultralytics else None),
        std=values.get("std", 255.0 if ultralytics else None),
        resize="crop" if ultralytics else None,
        size=values.get("imgsz"),
        licence=keys.get("license") or None,
    )


def _python_value(text: str, source: str) -> Any:
    """Return the value of a Python literal: Ultralytics writes `{0: 'cat', 1: 'dog'}`."""
    import ast

    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ModelError(f"{source}: '{text[:40]}' cannot be read") from None
