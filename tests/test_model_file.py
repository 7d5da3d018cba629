"""The model card inside a file, read back by others' libraries too."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest

from edgecat import InputRecipe, ModelCard, ModelError, read_card
from edgecat.formats import write_card
from edgecat.formats.onnx import onnx_entries
from edgecat.models import DEFAULT_MODEL

CARD = ModelCard(
    "käfer",
    "mobilenet",
    ("cat", "dog"),
    InputRecipe(96, 128, mean=1.5, std=2.5),
    "int8",
    {"tabby": "cat"},
    {"photos": {"cat": 3}},
    licence="MIT",
)


def test_a_card_survives_json() -> None:
    assert ModelCard.from_json(CARD.to_json(), "here") == CARD
    other = dataclasses.replace(
        CARD, scores="logits", input=InputRecipe(96, 128, "crop", (1.5, 2.0, 3.0), 2.5, 0.9)
    )
    assert ModelCard.from_json(other.to_json(), "here") == other
    quicker = dataclasses.replace(CARD, input=dataclasses.replace(CARD.input, detail=0.8))
    assert ModelCard.from_json(quicker.to_json(), "here") == quicker
    later = json.loads(CARD.to_json()) | {"format_version": 2, "added_later": True}
    later["input"]["added_later"] = "too"
    assert ModelCard.from_json(json.dumps(later), "here") == dataclasses.replace(
        CARD, format_version=2
    )
    for broken in ("", "{}", "[]", '{"labels": 3}', CARD.to_json()[:-20]):
        with pytest.raises(ModelError, match="here: its model card cannot be read"):
            ModelCard.from_json(broken, "here")


def test_a_card_in_a_tflite_file(tmp_path: Path) -> None:
    model = b"\x1c\x00\x00\x00TFL3" + bytes(range(256)) * 10
    path = tmp_path / "model.tflite"
    path.write_bytes(write_card(model, CARD))
    assert read_card(path) == dataclasses.replace(CARD, sha256=hashlib.sha256(model).hexdigest())
    assert path.read_bytes().startswith(model)
    with zipfile.ZipFile(path) as archive:  # as `unzip -l` and the Task Library see it
        assert archive.read("labels.txt") == b"cat\ndog\n"
        assert archive.testzip() is None
    assert write_card(model, CARD) == write_card(model, CARD)


def test_a_card_in_an_onnx_file(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    value = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2]) for name in "xy"
    ]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:]
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    model += onnx_entries({"names": "{0: 'cat', 1: 'dog'}", "long": "x" * 70_000})
    path = tmp_path / "model.onnx"
    path.write_bytes(write_card(model, CARD))
    assert dataclasses.replace(read_card(path), sha256="") == CARD
    onnx.checker.check_model(onnx.load(path))
    properties = (
        runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
        .get_modelmeta()
        .custom_metadata_map
    )
    assert ModelCard.from_json(properties["edgecat"], "onnxruntime").labels == ("cat", "dog")
    assert properties["names"] == "{0: 'cat', 1: 'dog'}"
    assert len(properties["long"]) == 70_000


def test_damage_is_noticed(tmp_path: Path) -> None:
    whole = DEFAULT_MODEL.read_bytes()
    path = tmp_path / "model.tflite"
    for place in (8, len(whole) // 3, len(whole) // 2):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(ModelError, match="damaged, its bytes are not those that were exported"):
            read_card(path)
    for length in (0, 7, 8, 1000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            read_card(path)


def test_the_default_model_carries_the_standard_metadata() -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromPackedBuf(bytearray(DEFAULT_MODEL.read_bytes()), 0)
    [entry] = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    content = bytes(model.buffers[entry.buffer].data)
    assert content[4:8] == b"M001"
    assert b"labels.txt" in content
    with zipfile.ZipFile(io.BytesIO(DEFAULT_MODEL.read_bytes())) as archive:
        assert archive.read("labels.txt").split() == [b"cat", b"dog", b"neither"]
