"""The standard metadata of a .tflite: tflite-support's metadata_schema.fbs, version 1.5.

Contains the little of the flatbuffer format that they need, so that no library is loaded.
"""

from __future__ import annotations

import struct

# Slots of the tables in schema.fbs and metadata_schema.fbs.
_METADATA_OF_MODEL, _BUFFERS_OF_MODEL = 6, 4
_SUBGRAPHS, _INPUTS, _OUTPUTS = 3, 2, 3
_UNITS_OF_TENSOR, _FILES_OF_TENSOR = 4, 6
_LICENCE = 5
_NORMALIZATION_OPTIONS = 1  # union ProcessUnitOptions
_TENSOR_AXIS_LABELS = 2  # enum AssociatedFileType


def read_metadata(model: bytes) -> Table | None:
    """Return the root of the metadata in a .tflite, or None.

    Raise struct.error or IndexError if the file is damaged.
    """
    root = Table.root(model)
    for entry in root.tables(_METADATA_OF_MODEL):
        if entry.text(0) == "TFLITE_METADATA":
            buffer = root.tables(_BUFFERS_OF_MODEL)[entry.integer(1, "<I")]
            return Table.root(buffer.data(0))
    return None


def label_file_name(model: bytes) -> str | None:
    """Return the name of the file with the labels of the outputs, if the metadata name one."""
    metadata = read_metadata(model)
    if metadata is None:
        return None
    files = []
    for tensor in _tensors(metadata, _OUTPUTS)[:1]:
        for file in tensor.tables(_FILES_OF_TENSOR):
            if file.integer(2, "<b") == _TENSOR_AXIS_LABELS:
                files.append(file)
    files.sort(key=lambda file: file.text(3))  # by locale; labels without one come first
    return files[0].text(0) if files else None


def normalisation(metadata: Table) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return the mean and std of the input, each None if the metadata do not say it."""
    for tensor in _tensors(metadata, _INPUTS)[:1]:
        for unit in tensor.tables(_UNITS_OF_TENSOR):
            if unit.integer(0, "<B") == _NORMALIZATION_OPTIONS:
                options = unit.table(1)
                return options.floats(0) or None, options.floats(1) or None
    return None, None


def licence(metadata: Table) -> str | None:
    """Return the licence of the model, or None."""
    return metadata.text(_LICENCE) or None


def _tensors(metadata: Table, slot: int) -> list[Table]:
    return [tensor for subgraph in metadata.tables(_SUBGRAPHS) for tensor in subgraph.tables(slot)]


class Table:
    """A table of a flatbuffer. Its fields are numbered slots; each may be absent.

    Methods raise IndexError or struct.error if the table points outside the content.
    """

    def __init__(self, content: bytes, place: int) -> None:
        self.content, self.place = content, place
        self.slots = place - self._at("<i", place)
        self.length = self._at("<H", self.slots)

    @staticmethod
    def root(content: bytes) -> Table:
        return Table(content, struct.unpack_from("<I", content)[0])

    def integer(self, slot: int, kind: str) -> int:
        place = self._field(slot)
        return self._at(kind, place) if place else 0

    def text(self, slot: int) -> str:
        return self.data(slot).decode()

    def table(self, slot: int) -> Table:
        return Table(self.content, self._target(self._field(slot)))

    def tables(self, slot: int) -> list[Table]:
        start, count = self._vector(slot, 4)
        return [Table(self.content, self._target(start + 4 * i)) for i in range(count)]

    def floats(self, slot: int) -> tuple[float, ...]:
        start, count = self._vector(slot, 4)
        return struct.unpack_from(f"<{count}f", self.content, start)

    def data(self, slot: int) -> bytes:
        start, count = self._vector(slot, 1)
        return self.content[start : start + count]

    def _vector(self, slot: int, width: int) -> tuple[int, int]:
        """Return where the items of a vector begin, and how many there are."""
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
        if place < 0:  # unpack_from would count from the end
            raise IndexError(place)
        value: int = struct.unpack_from(kind, self.content, place)[0]
        return value
