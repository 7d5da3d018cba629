"""The standard TFLite metadata, which MediaPipe, ML Kit and the Task Library read.

The schema is tensorflow/tflite-support's metadata_schema.fbs, version 1.5. Only the part for image
classifiers is written: name, licence, the input's size and normalisation, and the label file.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecat.model_file import LABELS_NAME, ModelCard
from edgecat.photo import Channels

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
    """Return the flatbuffer ModelMetadata."""
    b = flatbuffers.Builder(1024)
    recipe = card.input
    size = _table(
        b, {0: (b.PrependUint32Slot, recipe.width), 1: (b.PrependUint32Slot, recipe.height)}
    )
    image = _table(b, {0: (b.PrependInt8Slot, _RGB), 1: (b.PrependUOffsetTRelativeSlot, size)})
    image_content = _table(
        b, {0: (b.PrependUint8Slot, _IMAGE_PROPERTIES), 1: (b.PrependUOffsetTRelativeSlot, image)}
    )
    options = _offsets(
        b, {0: _floats(b, *_channels(recipe.mean)), 1: _floats(b, *_channels(recipe.std))}
    )
    unit = _table(
        b,
        {
            0: (b.PrependUint8Slot, _NORMALIZATION_OPTIONS),
            1: (b.PrependUOffsetTRelativeSlot, options),
        },
    )
    # The range of what the model reads; for integer inputs the runtime quantises it from there.
    ends = recipe.normalise(np.array([[0] * 3, [255] * 3]))
    stats = _offsets(b, {0: _floats(b, float(ends.max())), 1: _floats(b, float(ends.min()))})
    input_ = _offsets(
        b,
        {
            0: b.CreateString("image"),
            1: b.CreateString("RGB photo"),
            3: image_content,
            4: _vector(b, [unit]),
            5: stats,
        },
    )

    name = b.CreateString(LABELS_NAME)
    labels = _table(
        b, {0: (b.PrependUOffsetTRelativeSlot, name), 2: (b.PrependInt8Slot, _TENSOR_AXIS_LABELS)}
    )
    feature = _table(b, {})
    score_content = _table(
        b,
        {0: (b.PrependUint8Slot, _FEATURE_PROPERTIES), 1: (b.PrependUOffsetTRelativeSlot, feature)},
    )
    score_stats = _offsets(b, {0: _floats(b, 1.0), 1: _floats(b, 0.0)})
    output = _offsets(
        b,
        {
            0: b.CreateString("probability"),
            1: b.CreateString("one a label"),
            3: score_content,
            5: score_stats,
            6: _vector(b, [labels]),
        },
    )
    subgraph = _offsets(b, {2: _vector(b, [input_]), 3: _vector(b, [output])})
    model = {
        0: card.name,
        1: f"edgecat {card.architecture}: {', '.join(card.labels[:8])}",
        5: card.licence,
        7: "1.0.0",
    }
    strings = {slot: b.CreateString(text) for slot, text in model.items()}
    b.Finish(_offsets(b, {**strings, 3: _vector(b, [subgraph])}), b"M001")
    return bytes(b.Output())


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
