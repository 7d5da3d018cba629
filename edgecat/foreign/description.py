"""What is known of a model that edgecat did not make: from its user, and from what other makers write into model files.

.tflite  the standard TFLite metadata, tensorflow/tflite-support's metadata_schema.fbs, version 1.5
.onnx    the keys of Ultralytics' exports
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgecat.errors import ModelError
from edgecat.formats.onnx import onnx_metadata
from edgecat.formats.tflite import associated_files

_NUMBERED = (
    r"\s*(\d+)(?:\s*:\s*|\s+)(\S.*)"  # "0 cat", "0: cat", as Coral and Teachable Machine write them
)


@dataclass(frozen=True)
class Description:
    """How to use a model that edgecat did not make; what is None comes from the file, or is asked for where the file does not say."""

    labels: str | os.PathLike[str] | Sequence[str] | None = (
        None  # a label file, "cat,dog,neither", or the labels, in the order of the outputs
    )
    mean: float | Sequence[float] | None = (
        None  # the model reads (pixel - mean) / std, pixel in 0..255; one for all of RGB, or three
    )
    std: float | Sequence[float] | None = None
    resize: str | None = (
        None  # "squash", "crop" or, with the share of the shorter side that is kept (timm's crop_pct), "crop:0.875"
    )
    size: int | Sequence[int] | None = (
        None  # of the photo in pixels, or (height, width), where the model takes any
    )
    logits: bool | None = None  # whether a softmax is needed to make probabilities of the outputs
    licence: str | None = None


def parse_resize(given: str) -> tuple[Literal["squash", "crop"], float]:
    """The rule, and the share that a crop keeps. Raises ValueError."""
    match = re.fullmatch(r"(squash)|crop(?::(0?\.\d+|1(?:\.0*)?))?", given)
    if not match:
        raise ValueError(
            f"resize '{given}', expected squash, crop or, with the share of the shorter side that it keeps, such as crop:0.875"
        )
    return ("squash", 1.0) if match[1] else ("crop", float(match[2] or 1))


def read_labels(
    given: str | os.PathLike[str] | Sequence[str], source: str = "labels"
) -> tuple[str, ...]:
    """The labels of a label file, of "cat,dog,neither", or as they are. Raises ModelError."""
    if not isinstance(given, (str, os.PathLike)):
        return _told_apart(tuple(given), source)
    path = Path(given)
    if isinstance(given, str) and "," in given and not path.exists():
        return _told_apart(tuple(label.strip() for label in given.split(",")), source)
    try:
        return parse_labels(path.read_bytes(), str(path))
    except OSError as error:
        why = (
            "no such label file; expected a file, or labels with commas between"
            if isinstance(error, FileNotFoundError)
            else error.strerror
        )
        raise ModelError(f"{path}: {why}") from None


def parse_labels(content: bytes, source: str) -> tuple[str, ...]:
    """The labels in a label file: one a line, `0 cat` or `0:cat` a line, or JSON as Keras and Hugging Face write it. Raises ModelError."""
    try:
        text = content.decode("utf-8-sig").strip()
        record = json.loads(text) if text.startswith(("{", "[")) else None
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise ModelError(
            f"{source}: not a label file; expected UTF-8 text with one label a line, or JSON"
        ) from None
    if record is not None:
        return _told_apart(_labels_of_json(record, source), source)
    lines = [line.strip() for line in text.splitlines()]
    numbered = [re.fullmatch(_NUMBERED, line) for line in lines]
    pairs = [(int(match[1]), match[2]) for match in numbered if match]
    if len(pairs) == len(lines) and any(
        number == 0 for number, _ in pairs
    ):  # without a 0 they may be names: 1 euro, 2 euro
        return _told_apart(_in_order(pairs, source), source)
    return _told_apart(tuple(lines), source)


def label_file_name(model: bytes) -> str | None:
    """What the standard metadata of a .tflite call the file with the labels of its outputs, if they name one."""
    metadata = _tflite_metadata(model)
    said = (
        [
            tensor
            for subgraph in metadata.tables(_OUTPUTS_OF[0])
            for tensor in subgraph.tables(_OUTPUTS_OF[1])
        ]
        if metadata
        else []
    )
    files = [
        file
        for tensor in said[:1]
        for file in tensor.tables(6)
        if file.integer(2, "<b") == _TENSOR_AXIS_LABELS
    ]
    files.sort(key=lambda file: file.text(3))  # locale; the labels of none come first
    return files[0].text(0) if files else None


def described_inside(model: bytes, kind: str, source: str) -> Description:
    """What a model file of another maker says of itself. Raises ModelError where that makes no sense."""
    try:
        return _of_tflite(model, source) if kind == "tflite" else _of_onnx(model, source)
    except (struct.error, IndexError, UnicodeDecodeError):
        raise ModelError(
            f"{source}: damaged, its TFLite metadata point outside the file; copy or download it anew"
        ) from None


def _of_tflite(model: bytes, source: str) -> Description:
    metadata = _tflite_metadata(model)
    if metadata is None:
        return Description()
    name = label_file_name(model)
    labels = associated_files(model).get(name) if name else None
    read = [
        tensor
        for subgraph in metadata.tables(_INPUTS_OF[0])
        for tensor in subgraph.tables(_INPUTS_OF[1])
    ]
    units = [
        unit.table(1)
        for tensor in read[:1]
        for unit in tensor.tables(4)
        if unit.integer(0, "<B") == _NORMALIZATION_OPTIONS
    ]
    return Description(
        labels=None if labels is None else parse_labels(labels, f"{source}: {name}"),
        mean=units[0].floats(0) or None if units else None,
        std=units[0].floats(1) or None if units else None,
        licence=metadata.text(5) or None,
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
        labels=_labels_of_json(values["names"], f"{source}: names") if "names" in values else None,
        mean=values.get("mean", 0.0 if ultralytics else None),
        std=values.get("std", 255.0 if ultralytics else None),
        resize="crop" if ultralytics else None,
        size=values.get("imgsz"),
        licence=keys.get("license") or None,
    )


def _python_value(text: str, source: str) -> Any:
    """Ultralytics writes Python's own notation, `{0: 'cat', 1: 'dog'}`."""
    import ast

    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ModelError(f"{source}: '{text[:40]}' cannot be read") from None


def _labels_of_json(record: Any, source: str) -> tuple[str, ...]:
    """Of ["cat", "dog"], {"0": "cat"}, {"cat": 0}, {"0": ["n02123045", "tabby"]}, or any of them as id2label or label_names."""
    try:
        if isinstance(record, dict):
            record = record.get("id2label") or record.get("label_names") or record
        if isinstance(record, (list, tuple)):
            return tuple(map(str, record))
        if all(isinstance(value, int) for value in record.values()):
            return _in_order([(value, key) for key, value in record.items()], source)
        return _in_order(
            [
                (int(key), value[-1] if isinstance(value, list) else str(value))
                for key, value in record.items()
            ],
            source,
        )
    except (AttributeError, ValueError, TypeError, IndexError):
        raise ModelError(
            f'{source}: expected a list of labels, {{"0": "cat", "1": "dog"}} or {{"id2label": …}}'
        ) from None


def _in_order(pairs: Sequence[tuple[int, str]], source: str) -> tuple[str, ...]:
    labels = dict(pairs)
    absent = next((number for number in range(len(pairs)) if number not in labels), None)
    if absent is not None:
        raise ModelError(
            f"{source}: no label {absent}; expected one for each output, from 0 to {len(pairs) - 1}"
        )
    return tuple(labels[number] for number in range(len(labels)))


def _told_apart(labels: tuple[str, ...], source: str) -> tuple[str, ...]:
    """Labels with a number behind those that came before: ImageNet has two kinds of `crane`."""
    if not all(labels) or len(labels) < 2:
        raise ModelError(
            f"{source}: {'an empty label' if len(labels) > 1 else 'fewer than two labels'}; expected one label for each of the model's outputs"
        )
    times: Counter[str] = Counter()
    told = []
    for label in labels:
        times[label] += 1
        told.append(label if times[label] == 1 else f"{label} ({times[label]})")
    return tuple(told)


# The little of the flatbuffer format that the metadata need, so that reading them loads no library.
_METADATA_OF_MODEL, _BUFFERS_OF_MODEL = (
    6,
    4,
)  # slots of the tables in schema.fbs and metadata_schema.fbs
_INPUTS_OF, _OUTPUTS_OF = (
    (3, 2),
    (3, 3),
)  # ModelMetadata.subgraph_metadata, and its input and output tensors
_NORMALIZATION_OPTIONS = 1  # union ProcessUnitOptions
_TENSOR_AXIS_LABELS = 2  # enum AssociatedFileType


def _tflite_metadata(model: bytes) -> _Table | None:
    """The root of the standard metadata in a .tflite. Raises struct.error or IndexError where the file is damaged."""
    root = _Table.root(model)
    for entry in root.tables(_METADATA_OF_MODEL):
        if entry.text(0) == "TFLITE_METADATA":
            return _Table.root(root.tables(_BUFFERS_OF_MODEL)[entry.integer(1, "<I")].data(0))
    return None


class _Table:
    """A table of a flatbuffer; its fields are numbered slots, each of which may be absent. IndexError or struct.error where it points outside."""

    def __init__(self, content: bytes, place: int) -> None:
        self.content, self.place = content, place
        self.slots = place - self._at("<i", place)
        self.length = self._at("<H", self.slots)

    @staticmethod
    def root(content: bytes) -> _Table:
        return _Table(content, struct.unpack_from("<I", content)[0])

    def integer(self, slot: int, kind: str) -> int:
        place = self._field(slot)
        return self._at(kind, place) if place else 0

    def text(self, slot: int) -> str:
        return self.data(slot).decode()

    def table(self, slot: int) -> _Table:
        return _Table(self.content, self._target(self._field(slot)))

    def tables(self, slot: int) -> list[_Table]:
        start, count = self._vector(slot, 4)
        return [_Table(self.content, self._target(start + 4 * i)) for i in range(count)]

    def floats(self, slot: int) -> tuple[float, ...]:
        start, count = self._vector(slot, 4)
        return struct.unpack_from(f"<{count}f", self.content, start)

    def data(self, slot: int) -> bytes:
        start, count = self._vector(slot, 1)
        return self.content[start : start + count]

    def _vector(self, slot: int, width: int) -> tuple[int, int]:
        """Where the items of a vector begin, and how many there are."""
        if not (place := self._field(slot)):
            return 0, 0
        start = self._target(place)
        count = self._at("<I", start)
        if start + 4 + count * width > len(self.content):
            raise IndexError(count)
        return start + 4, count

    def _field(self, slot: int) -> int:
        entry = 4 + 2 * slot
        offset = self._at("<H", self.slots + entry) if entry < self.length else 0
        return self.place + offset if offset else 0

    def _target(self, place: int) -> int:
        return place + self._at("<I", place)

    def _at(self, kind: str, place: int) -> int:
        if place < 0:  # which unpack_from would count from the end
            raise IndexError(place)
        value: int = struct.unpack_from(kind, self.content, place)[0]
        return value
