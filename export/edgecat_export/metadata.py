"""What other people's runtimes read: the standard TFLite metadata, and Ultralytics' keys in ONNX.

The schema is tensorflow/tflite-support's metadata_schema.fbs, version 1.5. Only what an image classifier needs is
written: name, licence, the input's size and normalisation, and which file in the zip holds the labels.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np

from edgecat.card import Channels, ModelCard
from edgecat.formats import LABELS_NAME
from edgecat.formats.onnx import onnx_entries

_IMAGE_PROPERTIES, _FEATURE_PROPERTIES = 2, 1  # union ContentProperties
_NORMALIZATION_OPTIONS = 1  # union ProcessUnitOptions
_RGB = 1  # enum ColorSpaceType
_TENSOR_AXIS_LABELS = 2  # enum AssociatedFileType


def with_tflite_metadata(model: bytes, card: ModelCard) -> bytes:
    """The model with the standard metadata in it; MediaPipe, ML Kit and the Task Library then open it as it is."""
    from ai_edge_litert import schema_py_generated as schema

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


def with_onnx_metadata(model: bytes, card: ModelCard) -> bytes:
    """The model with Ultralytics' keys, and the recipe in plain ones, so that a few lines without edgecat can run it."""
    names = dict(enumerate(card.labels))
    return model + onnx_entries(
        {
            "description": f"edgecat {card.name}",
            "license": card.licence,
            "task": "classify",
            "batch": "1",
            "channels": "3",
            "imgsz": str([card.input.height, card.input.width]),
            "names": str(names),
            "layout": "NHWC",
            "mean": str(card.input.mean),
            "std": str(card.input.std),
        }
    )


def tflite_metadata(card: ModelCard) -> bytes:
    """The flatbuffer ModelMetadata."""
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
    read = _offsets(
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
    said = _offsets(
        b,
        {
            0: b.CreateString("probability"),
            1: b.CreateString("one a label"),
            3: score_content,
            5: score_stats,
            6: _vector(b, [labels]),
        },
    )
    subgraph = _offsets(b, {2: _vector(b, [read]), 3: _vector(b, [said])})
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
