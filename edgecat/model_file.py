"""The model card, and how it lies inside a model file.

In a .tflite it is `edgecat.json` in the zip at the end of the file, where the standard TFLite metadata keep their label
file too; in a .keras, which is a zip, it is a member of the same name; in an .onnx it is the entry `edgecat` of `metadata_props`.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgecat.errors import ModelError
from edgecat.photo import InputRecipe

FORMAT_VERSION = 1
ZIP_NAME = "edgecat.json"
LABELS_NAME = "labels.txt"
ONNX_KEY = "edgecat"


@dataclass(frozen=True)
class ModelCard:
    """What a model file says of itself."""

    name: str
    architecture: str
    labels: tuple[str, ...]  # in the order of the model's outputs
    input: InputRecipe
    precision: str = "fp32"  # or fp16, int8
    groups: Mapping[str, str] = field(default_factory=dict)  # label -> group, where the two differ
    training: Mapping[str, Any] = field(default_factory=dict)  # photos of each class, their digest, settings
    calibration: Mapping[str, Any] = field(default_factory=dict)  # photos, their digest, seed
    evaluation: Mapping[str, Any] = field(default_factory=dict)  # data, accuracy of each class
    verification: Mapping[str, Any] = field(default_factory=dict)  # what on, agreement, accuracy lost, largest score difference
    made_by: Mapping[str, Any] = field(default_factory=dict)  # command, checkpoint's file name and sha256
    versions: Mapping[str, str] = field(default_factory=dict)  # of the tools that made it
    licence: str = ""
    sha256: str = ""  # of the file's bytes without the card
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1)

    @staticmethod
    def from_json(text: str | bytes, source: str) -> ModelCard:
        """Raises ModelError that names `source`. Keys that this version does not know are passed over."""
        try:
            record = json.loads(text)
            known = {known.name for known in dataclasses.fields(ModelCard)}
            record = {key: value for key, value in record.items() if key in known}
            return ModelCard(**{**record, "labels": tuple(record["labels"]), "input": InputRecipe(**record["input"])})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(f"{source}: its model card cannot be read ({error!r}); export the model anew") from None


def model_format(path: Path) -> str:
    """'tflite', 'onnx' or 'keras', by the content. Raises ModelError."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ModelError(f"{path}: {'no such model file' if isinstance(error, FileNotFoundError) else error.strerror}") from None
    if head[4:8] == b"TFL3":
        return "tflite"
    if head[:4] == b"PK\x03\x04" and path.suffix == ".keras":
        return "keras"
    if head[:1] == b"\x08" and path.suffix == ".onnx":  # field 1 of the protobuf, ir_version
        return "onnx"
    raise ModelError(f"{path}: not a model file; expected .tflite or .onnx")


def read_card(path: Path) -> ModelCard:
    """The card inside a model file or checkpoint, checked against the file's bytes. Raises ModelError."""
    import hashlib
    import zipfile

    kind = model_format(path)
    content = path.read_bytes()
    try:
        if kind == "onnx":
            own_bytes, text = _split_onnx(content)
        else:
            own_bytes, text = _split_zip(content)
    except (KeyError, IndexError, zipfile.BadZipFile):
        maker = "train" if kind == "keras" else "export"
        raise ModelError(f"{path}: no labels inside; the file is cut short or was not made by 'edgecat {maker}'") from None
    card = ModelCard.from_json(text, str(path))
    if card.sha256 and kind != "keras" and hashlib.sha256(own_bytes).hexdigest() != card.sha256:
        raise ModelError(f"{path}: damaged, its bytes are not those that were exported; copy or export it anew")
    return card


def with_card(model: bytes, card: ModelCard) -> bytes:
    """A .tflite or .onnx model's bytes with the card put in, its digest filled."""
    import hashlib
    import zipfile

    card = dataclasses.replace(card, sha256=hashlib.sha256(model).hexdigest())
    if model[4:8] != b"TFL3":
        return model + _onnx_entry(ONNX_KEY, card.to_json())
    end = io.BytesIO()
    with zipfile.ZipFile(end, "w") as archive:  # stored, not packed: the card is read at every start
        for name, text in ((LABELS_NAME, "".join(f"{label}\n" for label in card.labels)), (ZIP_NAME, card.to_json())):
            archive.writestr(zipfile.ZipInfo(name), text)  # ZipInfo's fixed date: the same model gives the same bytes
    return model + end.getvalue()


def onnx_entries(entries: Mapping[str, str]) -> bytes:
    """Entries of `metadata_props`; put behind a model's bytes they become part of it, as protobuf's repeated fields do."""
    return b"".join(_onnx_entry(key, value) for key, value in entries.items())


def _split_zip(content: bytes) -> tuple[bytes, bytes]:
    import zipfile

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start = min(member.header_offset for member in archive.infolist())
        return content[:start], archive.read(ZIP_NAME)


def _split_onnx(content: bytes) -> tuple[bytes, bytes]:
    """The bytes before the card's entry, and the card."""
    for start, number, value in _protobuf_fields(content):
        if number == _METADATA_PROPS:
            entry = {key: text for _, key, text in _protobuf_fields(value)}
            if entry.get(1) == ONNX_KEY.encode():
                return content[:start], entry[2]
    raise KeyError(ONNX_KEY)


# The little of the protobuf wire format that metadata_props needs, so that reading a card loads no library.
_METADATA_PROPS = 14  # ModelProto.metadata_props: StringStringEntryProto {1: key, 2: value}


def _protobuf_fields(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(start, field number, content) of the fields of a message; a varint's content is empty. IndexError where it is cut short."""
    place = 0
    while place < len(content):
        start = place
        tag, place = _read_varint(content, place)
        kind, length = tag & 7, 0
        if kind == 2:
            length, place = _read_varint(content, place)
        elif kind == 0:
            _, place = _read_varint(content, place)
        else:
            length = {1: 8, 5: 4}[kind]
        if place + length > len(content):
            raise IndexError(place)
        yield start, tag >> 3, content[place : place + length]
        place += length


def _read_varint(content: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


def _onnx_entry(key: str, value: str) -> bytes:
    entry = b"".join(_length_prefixed(number, text.encode()) for number, text in ((1, key), (2, value)))
    return _length_prefixed(_METADATA_PROPS, entry)


def _length_prefixed(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
