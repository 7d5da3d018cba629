"""Architectures and export formats are rows of tables: names, help and errors follow from them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from real import Run

HEAVY = ("keras", "tensorflow", "onnx", "tf2onnx", "h5py", "ai_edge_quantizer")
# A row of each, for an architecture and a format that there are not.
MADE_UP = """
from edgecat_export.architectures import ARCHITECTURES, Architecture
from edgecat_export.formats import FORMATS, Format
ARCHITECTURES["tinynet"] = Architecture("tiny:tinynet", size=32, block="(conv)", alpha=1.0)
FORMATS["tinyml"] = Format("tiny", tools=())
"""
TINYNET = """
import keras
def tinynet(input_shape, include_top, weights, pooling, alpha):
    pixels = keras.Input(input_shape)
    maps = keras.layers.Conv2D(int(4 * alpha), 3, name="conv")(pixels)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(maps))
"""


def shown(*arguments: str) -> str:
    """Return the output of a command, with the made-up rows and the heavy modules it loaded."""
    code = f"""{MADE_UP}
import sys, edgecat.cli
sys.argv = ["edgecat", *{list(arguments)!r}]
try: edgecat.cli.main()
except SystemExit: pass
print("loaded", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return " ".join((done.stdout + done.stderr).replace("│", " ").split())


def test_help_and_errors_name_the_rows_and_load_no_library() -> None:
    train, export = shown("train", "--help"), shown("export", "--help")
    assert "resnet50 or tinynet." in train
    assert "mobilenet and mobilenet_v2 and tinynet" in train
    assert "resnet50 or tinynet." in export
    assert "tflite, onnx, tinyml or all." in export
    wrong = shown("export", "mobilenet", "--format", "coreml")
    assert "expected tflite, onnx, tinyml or all" in wrong
    near = shown("export", "tiny-net", "--fp16")
    assert "did you mean 'tinynet'? Known: efficientnet_lite0" in near
    for text in (train, export, wrong, near):
        assert "loaded []" in text


@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="needs edgecat[export]")
def test_a_new_architecture_is_one_row_and_its_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecat_export.architectures import ARCHITECTURES, Architecture
    from edgecat_export.networks.classifier import build_classifier, freeze_all_but

    (tmp_path / "tiny.py").write_text(TINYNET)
    monkeypatch.syspath_prepend(str(tmp_path))
    row = Architecture("tiny:tinynet", size=32, block="(conv)", alpha=1.0, imagenet=None)
    monkeypatch.setitem(ARCHITECTURES, "tinynet", row)
    model = build_classifier("tinynet", 2, 32, 0.5, None)
    assert model.get_layer("conv").output.shape == (None, 30, 30, 2)
    assert model.output_shape == (None, 2)
    freeze_all_but(model, 1)
    assert model.get_layer("conv").trainable


@pytest.mark.skipif(importlib.util.find_spec("tf2onnx") is None, reason="needs edgecat[export]")
def test_a_file_that_cannot_be_written_does_not_stop_the_others(
    edgecat: Run, tmp_path: Path
) -> None:
    (tmp_path / "mobilenet-fp16.tflite").mkdir()
    done = edgecat("export", "mobilenet", "--fp16", "--force")
    assert done.returncode == 1
    assert (tmp_path / "mobilenet-fp16.onnx").is_file()
    assert "mobilenet-fp16.tflite: cannot be written (Is a directory); make room" in done.stderr
    assert "next: edgecat classify --model mobilenet-fp16.onnx PHOTO" in done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[1:3]}
    assert rows["mobilenet-fp16.tflite"].endswith("NOT WRITTEN")
    assert not rows["mobilenet-fp16.onnx"].endswith("NOT WRITTEN")
