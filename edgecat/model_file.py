"""The model card, and how it lies inside a model file.

In a .tflite it is `edgecat.json` in the zip at the end of the file, where the standard TFLite metadata keep their label
file too; in a .keras, which is a zip, it is a member of the same name; in an .onnx it is the entry `edgecat` of `metadata_props`.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Literal

from edgecat.errors import ModelError
from edgecat.photo import InputRecipe

if TYPE_CHECKING:
    from pathlib import Path

FORMAT_VERSION = 1
ZIP_NAME = "edgecat.json"
LABELS_NAME = "labels.txt"
ONNX_KEY = "edgecat"
_MAX_UNPACKED = 256_000_000  # bytes; a zip that unpacks to more is an attack


@dataclass(frozen=True)
class ModelCard:
    """What a model file says of itself."""

    name: str
    architecture: str
    labels: tuple[str, ...]  # in the order of the model's outputs
    input: InputRecipe
    precision: str = "fp32"  # or fp16, int8
    groups: Mapping[str, str] = field(default_factory=dict)  # label -> group, where the two differ
    training: Mapping[str, Any] = field(
        default_factory=dict
    )  # photos of each class, their digest, settings
    calibration: Mapping[str, Any] = field(default_factory=dict)  # photos, their digest, seed
    evaluation: Mapping[str, Any] = field(default_factory=dict)  # data, accuracy of each class
    verification: Mapping[str, Any] = field(
        default_factory=dict
    )  # what on, agreement, accuracy lost, largest score difference
    made_by: Mapping[str, Any] = field(
        default_factory=dict
    )  # command, checkpoint's file name and sha256
    versions: Mapping[str, str] = field(default_factory=dict)  # of the tools that made it
    licence: str = ""
    sha256: str = ""  # of the file's bytes without the card
    format_version: int = FORMAT_VERSION
    scores: Literal["probabilities", "logits"] = (
        "probabilities"  # what the outputs are; a softmax makes probabilities of logits
    )

    def __post_init__(self) -> None:
        if self.scores not in ("probabilities", "logits"):
            raise ValueError(f"scores '{self.scores}', expected probabilities or logits")

    def to_json(self) -> str:
        import json

        record = dataclasses.asdict(self)
        if (
            self.scores == "probabilities"
        ):  # left out, as the two below, where it says what a reader takes for granted
            del record["scores"]
        for key in ("crop", "detail"):
            if record["input"][key] == 1:
                del record["input"][key]
        return json.dumps(record, ensure_ascii=False, indent=1)

    @staticmethod
    def from_json(text: str | bytes, source: str) -> ModelCard:
        """Raises ModelError that names `source`. Keys that this version does not know are passed over."""
        import json

        try:
            record = _known(ModelCard, json.loads(text))
            recipe: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in _known(InputRecipe, record["input"]).items()
            }
            return ModelCard(
                **{**record, "labels": tuple(record["labels"]), "input": InputRecipe(**recipe)}
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(
                f"{source}: its model card cannot be read ({error!r}); export the model anew"
            ) from None


def _known(kind: Any, record: Mapping[str, Any]) -> dict[str, Any]:
    """What of `record` a dataclass has fields for."""
    names = {known.name for known in dataclasses.fields(kind)}
    return {key: value for key, value in record.items() if key in names}


def model_format(path: Path) -> str:
    """'tflite', 'onnx' or 'keras', by the content. Raises ModelError."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ModelError(
            f"{path}: {'no such model file' if isinstance(error, FileNotFoundError) else error.strerror}"
        ) from None
    if head[4:8] == b"TFL3":
        return "tflite"
    if head[:4] == b"PK\x03\x04" and path.suffix == ".keras":
        return "keras"
    if head[:1] == b"\x08" and path.suffix == ".onnx":  # field 1 of the protobuf, ir_version
        return "onnx"
    raise ModelError(f"{path}: not a model file; expected .tflite or .onnx")


def read_card(path: Path) -> ModelCard:
    """The card inside a model file or checkpoint, checked against the file's bytes. Raises ModelError."""
    card = find_card(path)
    if card is None:
        maker = "train" if model_format(path) == "keras" else "export"
        raise ModelError(
            f"{path}: no labels inside; the file is cut short or was not made by 'edgecat {maker}'"
        )
    return card


def find_card(path: Path) -> ModelCard | None:
    """As `read_card`, but None where there is no card, as in files that edgecat did not make."""
    kind = model_format(path)
    with path.open(
        "rb"
    ) as file:  # not read as a whole: a small board has better uses for its memory
        start, text = _split(file, kind)
        if text is None:
            return None
        card = ModelCard.from_json(text, str(path))
        if card.sha256 and kind != "keras" and _sha256(file, start) != card.sha256:
            raise ModelError(
                f"{path}: damaged, its bytes are not those that were exported; copy or export it anew"
            )
    return card


def with_card(model: bytes, card: ModelCard, labels_name: str | None = LABELS_NAME) -> bytes:
    """A .tflite or .onnx model's bytes with the card put in, its digest filled; an earlier card makes way.

    What else the zip at the end of a .tflite holds stays; the labels are written as its file `labels_name`, unless that is None.
    """
    import hashlib
    import zipfile

    kind = "tflite" if model[4:8] == b"TFL3" else "onnx"
    own_bytes = model[: _split(io.BytesIO(model), kind)[0]]
    card = dataclasses.replace(card, sha256=hashlib.sha256(own_bytes).hexdigest())
    if kind == "onnx":
        return own_bytes + _onnx_entry(ONNX_KEY, card.to_json())
    files = associated_files(model)
    if labels_name is not None:
        files[labels_name] = "".join(f"{label}\n" for label in card.labels).encode()
    end = io.BytesIO()
    with zipfile.ZipFile(
        end, "w"
    ) as archive:  # stored, not packed: the card is read at every start
        for name, content in (files | {ZIP_NAME: card.to_json().encode()}).items():
            archive.writestr(
                zipfile.ZipInfo(name), content
            )  # ZipInfo's fixed date: the same model gives the same bytes
    return own_bytes + end.getvalue()


def associated_files(model: bytes) -> dict[str, bytes]:
    """What the zip at the end of a .tflite holds; nothing where there is no zip, or only a broken one."""
    return _unzip(io.BytesIO(model))[1]


def onnx_metadata(model: bytes) -> dict[str, str]:
    """The `metadata_props` of an .onnx; those before the damage where the file is cut short."""
    return {key: text for _, key, text in _onnx_properties(model)}


def onnx_entries(entries: Mapping[str, str]) -> bytes:
    """Entries of `metadata_props`; put behind a model's bytes they become part of it, as protobuf's repeated fields do."""
    return b"".join(_onnx_entry(key, value) for key, value in entries.items())


def _split(file: IO[bytes], kind: str) -> tuple[int, bytes | None]:
    """How many bytes lie before what holds the card, and the card; None where there is none."""
    if kind == "onnx":
        content = file.read()
        return next(
            (
                (start, text.encode())
                for start, key, text in _onnx_properties(content)
                if key == ONNX_KEY
            ),
            (len(content), None),
        )
    start, files = _unzip(file, only=ZIP_NAME)
    return start, files.get(ZIP_NAME)


def _sha256(file: IO[bytes], length: int) -> str:
    """Of the first `length` bytes."""
    import hashlib

    digest = hashlib.sha256()
    file.seek(0)
    while length and (part := file.read(min(length, 1 << 18))):
        digest.update(part)
        length -= len(part)
    return digest.hexdigest()


def _unzip(file: IO[bytes], only: str | None = None) -> tuple[int, dict[str, bytes]]:
    """Where the zip at the end begins, and what is in it, or `only` the file of that name."""
    import struct
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            wanted = [member for member in members if only in (None, member.filename)]
            if sum(member.file_size for member in wanted) > _MAX_UNPACKED:
                raise zipfile.BadZipFile
            return min(member.header_offset for member in members), {
                member.filename: archive.read(member) for member in wanted
            }
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        OSError,
        EOFError,
        ValueError,
        IndexError,
        RuntimeError,
    ):  # what a broken zip raises
        return file.seek(0, io.SEEK_END), {}


def _onnx_properties(content: bytes) -> Iterator[tuple[int, str, str]]:
    """(start, key, value) of each entry of `metadata_props`."""
    try:
        for start, number, value in _protobuf_fields(content):
            if number == _METADATA_PROPS:
                entry = {part: text.decode() for _, part, text in _protobuf_fields(value)}
                yield start, entry.get(1, ""), entry.get(2, "")
    except (KeyError, IndexError, UnicodeDecodeError):  # cut short
        return


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
    while shift < 64:
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise IndexError(place)


def _onnx_entry(key: str, value: str) -> bytes:
    entry = b"".join(
        _length_prefixed(number, text.encode()) for number, text in ((1, key), (2, value))
    )
    return _length_prefixed(_METADATA_PROPS, entry)


def _length_prefixed(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def typed(words: Sequence[str]) -> str:
    """A command as it would be typed beside its files: base names only, so that where it ran does not show."""
    import shlex

    return shlex.join(map(base_names, words))


def base_names(word: str) -> str:
    """`data/test_set` -> `test_set`, `cat=data/cats` -> `cat=cats`."""
    name, equals, path = word.rpartition("=")
    return (
        f"{name}{equals}{os.path.basename(os.path.realpath(path))}"
        if os.sep in path or path in (".", "..")
        else word
    )
