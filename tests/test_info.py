"""`edgecat info`, checked against published figures and between independent readers."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from real import CHELSEA, ROOT, Run

from edgecat.card import InputRecipe
from edgecat.formats import read_card, write_card
from edgecat.measure.network.inspection import inspect
from edgecat.measure.network.network import TensorInfo
from edgecat.models import DEFAULT_MODEL

CHECKPOINTS = ROOT / "export" / "edgecat_export" / "checkpoints"
needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("onnx") is None, reason="needs edgecat[export]"
)
needs_litert = pytest.mark.skipif(
    importlib.util.find_spec("ai_edge_litert") is None, reason="needs ai-edge-litert"
)
needs_keras = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="needs edgecat[export]"
)


@needs_keras
@pytest.mark.parametrize(("name", "published"), [("MobileNetV2", 300e6), ("MobileNet", 569e6)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Keras and h5py
def test_published_work_of_the_mobilenets(name: str, published: float, tmp_path: Path) -> None:
    """Sandler et al. 2018, table 4, and Howard et al. 2017, table 8."""
    import keras

    model = getattr(keras.applications, name)(input_shape=(224, 224, 3), alpha=1.0, weights=None)
    model.save(tmp_path / "model.keras")
    found = inspect(tmp_path / "model.keras")
    assert found.network.macs == pytest.approx(published, rel=0.005)
    assert found.network.outputs[0].shape == ("?", 1000)
    assert found.card is None


@needs_litert
def test_a_tflite_file_and_its_checkpoint_are_the_same_work() -> None:
    file, checkpoint = inspect(DEFAULT_MODEL), inspect(CHECKPOINTS / "efficientnet_lite0.keras")
    assert file.network.macs == checkpoint.network.macs
    assert (
        file.network.operations["DEPTHWISE_CONV_2D"]
        == checkpoint.network.operations["DepthwiseConv2D"]
        == 16
    )
    assert file.network.weights_bytes < file.bytes == DEFAULT_MODEL.stat().st_size
    assert file.card is not None
    assert file.card.name == "catdog"


@needs_litert
def test_tensors_are_those_that_the_engine_sees() -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(DEFAULT_MODEL))
    for seen, [found] in zip(
        (interpreter.get_input_details(), interpreter.get_output_details()),
        (inspect(DEFAULT_MODEL).network.inputs, inspect(DEFAULT_MODEL).network.outputs),
        strict=True,
    ):
        assert (found.shape, found.dtype) == (tuple(seen[0]["shape"]), seen[0]["dtype"].__name__)
        assert (found.scale, found.zero_point) == pytest.approx(seen[0]["quantization"])


def onnx_model(**attributes: Any) -> bytes:
    """(batch, 4, 10, 10) -> a grouped convolution, a pooling, a product -> (batch, 5)."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper

    def constant(name: str, *shape: int) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name)

    nodes = [
        helper.make_node(
            "Conv", ["pixels", "kernel"], ["features"], group=2, strides=[2, 2], pads=[1, 1, 1, 1]
        ),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix"], ["scores"]),
    ]
    read = helper.make_tensor_value_info(
        "pixels", TensorProto.FLOAT, attributes.get("shape", ["batch", 4, 10, 10])
    )
    said = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 5])
    graph = helper.make_graph(
        nodes,
        "somebody's",
        [read],
        [said],
        [constant("kernel", 6, 2, 3, 3), constant("matrix", 6, 5)],
    )
    return bytes(
        helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
        ).SerializeToString()
    )


@needs_onnx
def test_an_onnx_file_that_edgecat_did_not_make(edgecat: Run, tmp_path: Path) -> None:
    (tmp_path / "their.onnx").write_bytes(onnx_model())
    found = inspect(tmp_path / "their.onnx")
    assert found.network.macs == 6 * 5 * 5 * 2 * 3 * 3 + 6 * 5
    assert found.network.weights_bytes == 4 * (6 * 2 * 3 * 3 + 6 * 5)
    assert found.network.inputs == (TensorInfo("pixels", ("batch", 4, 10, 10), "float32"),)
    assert dict(found.network.operations) == {
        "Conv": 1,
        "GlobalAveragePool": 1,
        "Flatten": 1,
        "Gemm": 1,
    }
    done = edgecat("info", "their.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["card"].startswith("no model card; no labels inside")
    assert lines["input"] == "pixels  (batch, 4, 10, 10) float32"
    (tmp_path / "free.onnx").write_bytes(onnx_model(shape=["batch", 4, "height", "width"]))
    assert "work        unknown, a shape is free" in edgecat("info", "free.onnx").stdout


@needs_litert
def test_info_as_a_person_and_as_a_program_reads_it(edgecat: Run) -> None:
    done = edgecat("info", DEFAULT_MODEL)
    assert (done.returncode, done.stderr) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["model"] == "catdog: efficientnet_lite0, int8, licence Apache-2.0"
    assert lines["labels"] == "cat, dog, neither"
    assert (
        lines["reads"]
        == "224 x 224 pixels, squash, (pixel - 128) / 128, JPEGs decoded at 0.8 of that or more"
    )
    assert lines["input"].endswith("(1, 224, 224, 3) uint8, 0.0078125 x (integer - 128)")
    assert lines["work"] == "384.3 million multiply-accumulates a photo"
    record = json.loads(edgecat("info", DEFAULT_MODEL, "--json").stdout)
    assert record["card"]["labels"] == ["cat", "dog", "neither"]
    assert record["network"]["inputs"][0]["shape"] == [1, 224, 224, 3]
    assert record["network"]["macs"] == 384349152


@needs_litert
def test_a_mean_and_std_for_each_channel(edgecat: Run, tmp_path: Path) -> None:
    card = read_card(DEFAULT_MODEL)
    recipe = InputRecipe(
        224, 224, "crop", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 0.875
    )
    (tmp_path / "torch.tflite").write_bytes(
        write_card(DEFAULT_MODEL.read_bytes(), dataclasses.replace(card, input=recipe))
    )
    reads = (
        "reads       224 x 224 pixels, crop, 0.875 of the shorter side, "
        "(pixel - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)"
    )
    assert reads in edgecat("info", "torch.tflite").stdout.splitlines()


@needs_litert
def test_a_file_without_a_card(edgecat: Run, tmp_path: Path) -> None:
    with zipfile.ZipFile(DEFAULT_MODEL) as archive:
        start = min(member.header_offset for member in archive.infolist())
    (tmp_path / "bare.tflite").write_bytes(DEFAULT_MODEL.read_bytes()[:start])
    done = edgecat("info", "bare.tflite")
    assert done.returncode == 0
    assert "card        no model card; no labels inside" in done.stdout
    assert "33 CONV_2D" in done.stdout
    assert json.loads(edgecat("info", "bare.tflite", "--json").stdout)["card"] is None


@needs_litert
def test_broken_files_and_other_files(edgecat: Run, tmp_path: Path) -> None:
    (tmp_path / "noise.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(range(256)) * 20)
    with zipfile.ZipFile(tmp_path / "empty.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    for name, message in {
        "none.tflite": "none.tflite: no such model file",
        str(CHELSEA): f"{CHELSEA}: not a model file; expected .tflite or .onnx",
        "noise.tflite": "noise.tflite: broken, its network cannot be read; copy or export it again",
        "empty.keras": "empty.keras: broken, its network cannot be read; copy or export it again",
    }.items():
        done = edgecat("info", name)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"edgecat: {message}\n")


@needs_onnx
def test_a_broken_onnx_file(edgecat: Run, tmp_path: Path) -> None:
    whole = onnx_model()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    assert (
        edgecat("info", "cut.onnx").stderr
        == "edgecat: cut.onnx: broken, its network cannot be read; copy or export it again\n"
    )


@pytest.mark.parametrize(
    ("library", "package", "name"),
    [("ai_edge_litert", "ai-edge-litert", "model.tflite"), ("onnx", "onnx", "model.onnx")],
)
def test_a_missing_library_is_named_with_its_remedy(
    edgecat: Run, tmp_path: Path, library: str, package: str, name: str
) -> None:
    (tmp_path / "missing").mkdir()
    (tmp_path / "missing" / f"{library}.py").write_text(
        f"raise ModuleNotFoundError('not here', name={library!r})"
    )
    (tmp_path / name).write_bytes(
        DEFAULT_MODEL.read_bytes() if name.endswith("tflite") else b"\x08\x08"
    )
    path = os.pathsep.join(filter(None, (str(tmp_path / "missing"), os.environ.get("PYTHONPATH"))))
    done = edgecat("info", name, PYTHONPATH=path)
    kind = name.partition(".")[2]
    assert (done.returncode, done.stderr) == (
        1,
        f"edgecat: looking into a .{kind} file needs '{library}'; "
        f"install it with: pip install {package}\n",
    )
