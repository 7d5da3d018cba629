"""The standard TFLite metadata, which MediaPipe, ML Kit and the Task Library read.

The schema is tensorflow/tflite-support's metadata_schema.fbs, version 1.5. Only the part for image
classifiers is written: name, licence, the input's size and normalisation, and the label file.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecat.card import Channels, InputRecipe, ModelCard
from edgecat.formats import LABELS_NAME

_IMAGE_PROPERTIES, _FEATURE_PROPERTIES = 2, 1  # union ContentProperties
_NORMALIZATION_OPTIONS = 1  # union ProcessUnitOptions
_RGB = 1  # enum ColorSpaceType
_TENSOR_AXIS_LABELS = 2  # enum AssociatedFileType


def describe(model: bytes, card: ModelCard) -> bytes:
    """Return the file with the standard metadata in it."""
    root = schema.ModelT.InitFromPackedBuf(bytearray(model), 0)
    buffer = schema.BufferT()
    buffer.data = list(tflite_metadata(card))
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"TFLITE_METADATA", len(root.buffers)
    root.buffers.append(buffer)
    root.metadata = [*(root.metadata or []), entry]
    root.description = f"edgecat {card.name}".encode()
    builder = flatbuffers.Builder(len(model))
    builder.Finish(root.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def tflite_metadata(card: ModelCard) -> bytes:
    """Return the flatbuffer ModelMetadata; the numbers are the schema's slots."""
    b = flatbuffers.Builder(1024)
    image = _input(b, card.input)
    scores = _output(b)
    subgraph = _offsets(b, {2: _vector(b, [image]), 3: _vector(b, [scores])})
    texts = {
        0: card.name,
        1: f"edgecat {card.architecture}: {', '.join(card.labels[:8])}",
        5: card.licence,
        7: "1.0.0",
    }
    strings = {slot: b.CreateString(text) for slot, text in texts.items()}
    b.Finish(_offsets(b, {**strings, 3: _vector(b, [subgraph])}), b"M001")
    return bytes(b.Output())


def _input(b: Any, recipe: InputRecipe) -> int:
    """Add the TensorMetadata of the photo: its size, normalisation and range."""
    width = (b.PrependUint32Slot, recipe.width)
    size = _table(b, {0: width, 1: (b.PrependUint32Slot, recipe.height)})
    colours = (b.PrependInt8Slot, _RGB)
    image = _table(b, {0: colours, 1: (b.PrependUOffsetTRelativeSlot, size)})
    content = _union(b, _IMAGE_PROPERTIES, image)
    mean, std = (_floats(b, *_channels(values)) for values in (recipe.mean, recipe.std))
    unit = _union(b, _NORMALIZATION_OPTIONS, _offsets(b, {0: mean, 1: std}))
    # The range of the normalised pixels; for integer inputs the runtime quantises them.
    ends = recipe.normalise(np.array([[0] * 3, [255] * 3]))
    stats = _offsets(b, {0: _floats(b, float(ends.max())), 1: _floats(b, float(ends.min()))})
    name, description = b.CreateString("image"), b.CreateString("RGB photo")
    return _offsets(b, {0: name, 1: description, 3: content, 4: _vector(b, [unit]), 5: stats})


def _output(b: Any) -> int:
    """Add the TensorMetadata of the scores: their range and the label file."""
    file = (b.PrependUOffsetTRelativeSlot, b.CreateString(LABELS_NAME))
    labels = _table(b, {0: file, 2: (b.PrependInt8Slot, _TENSOR_AXIS_LABELS)})
    content = _union(b, _FEATURE_PROPERTIES, _table(b, {}))
    stats = _offsets(b, {0: _floats(b, 1.0), 1: _floats(b, 0.0)})
    name, description = b.CreateString("probability"), b.CreateString("one a label")
    return _offsets(b, {0: name, 1: description, 3: content, 5: stats, 6: _vector(b, [labels])})


def _union(b: Any, kind: int, value: int) -> int:
    """Add a table with a union: the kind of a value, and the value."""
    return _table(b, {0: (b.PrependUint8Slot, kind), 1: (b.PrependUOffsetTRelativeSlot, value)})


def _table(b: Any, slots: dict[int, tuple[Any, int]]) -> int:
    b.StartObject(max(slots, default=-1) + 1)
    for slot, (prepend, value) in slots.items():
        prepend(slot, value, 0)
    return int(b.EndObject())


def _offsets(b: Any, slots: dict[int, int]) -> int:
    return _table(
        b, {slot: (b.PrependUOffsetTRelativeSlot, offset) for slot, offset in slots.items()}
    )


def _vector(b: Any, offsets: list[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def _channels(values: Channels) -> tuple[float, ...]:
    return values if isinstance(values, tuple) else (values,)


def _floats(b: Any, *values: float) -> int:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependFloat32(value)
    return int(b.EndVector())
