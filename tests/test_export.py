"""`edgecat export`: what it writes answers like Keras, and what does not is not written."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from edgecat_export.architectures import ARCHITECTURES
from edgecat_export.synthetic_inputs import noise
from edgecat_export.verify import Verification, limits
from real import CHELSEA, COFFEE, ROOT, Run

from edgecat import Classifier, read_card

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tf2onnx") is None, reason="needs edgecat[export]"
)
CHECKPOINTS = ROOT / "export" / "edgecat_export" / "checkpoints"


def test_the_command_of_the_readme(edgecat: Run, tmp_path: Path) -> None:
    done = edgecat("export", "mobilenet", "--int8")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "mobilenet-int8.tflite",
        "mobilenet-int8.onnx",
    }
    assert "next: edgecat classify --model mobilenet-int8.tflite PHOTO" in done.stderr
    assert "made by edgecat" in done.stdout
    for name in ("mobilenet-int8.tflite", "mobilenet-int8.onnx"):
        answers = edgecat(
            "classify", "--model", name, CHELSEA, COFFEE, "--json"
        ).stdout.splitlines()
        assert [json.loads(answer)["label"] for answer in answers] == ["cat", "neither"]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_files_answer_right_and_describe_themselves(
    exported: Path, precision: str, kind: str
) -> None:
    path = exported / f"mobilenet-{precision}.{kind}"
    with Classifier(path) as classifier:
        assert [classifier.classify(photo).label for photo in (CHELSEA, COFFEE)] == [
            "cat",
            "neither",
        ]
    card = read_card(path)
    assert (card.architecture, card.precision, card.labels) == (
        "mobilenet",
        precision,
        ("cat", "dog", "neither"),
    )
    assert card.verification["inputs"] == "made by edgecat"
    assert card.verification["agreement"] >= 0.9
    assert ("photos" in card.calibration) == (precision == "int8")
    assert "ranges" not in card.calibration
    assert {"edgecat", "keras"} < set(card.versions)


def test_sizes_follow_the_precision(exported: Path) -> None:
    for kind in ("tflite", "onnx"):
        fp32, fp16, int8 = (
            (exported / f"mobilenet-{precision}.{kind}").stat().st_size
            for precision in ("fp32", "fp16", "int8")
        )
        assert fp16 < 0.55 * fp32
        assert int8 < 0.36 * fp32


def test_the_int8_tflite_file_is_integers_throughout(exported: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(exported / "mobilenet-int8.tflite"))
    interpreter.allocate_tensors()
    assert {np.dtype(tensor["dtype"]).kind for tensor in interpreter.get_tensor_details()} <= {
        "i",
        "u",
    }
    read, said = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert read["dtype"] == said["dtype"] == np.uint8
    assert read["quantization"] == (1 / 128, 128)  # so that a pixel is its own tensor value
    with Classifier(exported / "mobilenet-int8.tflite") as classifier:
        pixels = classifier.pixels(CHELSEA)
        assert classifier.tensor(pixels) is pixels


def test_the_int8_onnx_file_is_static_and_per_channel(exported: Path) -> None:
    import onnx

    graph = onnx.load(exported / "mobilenet-int8.onnx").graph
    kinds = {node.op_type for node in graph.node}
    assert "QuantizeLinear" in kinds
    assert not kinds & {"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}
    scales = {tensor.name: tensor.dims for tensor in graph.initializer}
    weights = [
        node
        for node in graph.node
        if node.op_type == "DequantizeLinear" and len(scales.get(node.input[0], ())) == 4
    ]
    assert len(weights) > 20
    assert all(scales[node.input[1]][0] > 1 for node in weights)
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_both_int8_formats_agree(exported: Path) -> None:
    inputs = noise(read_card(exported / "mobilenet-int8.tflite").input, 40, seed=3)
    answers = []
    for kind in ("tflite", "onnx"):
        with Classifier(exported / f"mobilenet-int8.{kind}") as classifier:
            answers.append([classifier.classify(picture).label for picture in inputs])
    assert np.mean(np.array(answers[0]) == np.array(answers[1])) >= 0.9


def test_with_photos_it_calibrates_on_some_and_verifies_on_others(
    edgecat: Run, tmp_path: Path
) -> None:
    from PIL import Image

    for label, source in (("cats", CHELSEA), ("neither", COFFEE)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        with Image.open(source) as whole:
            for number in range(8):
                whole.crop((4 * number, 0, whole.width, whole.height)).save(
                    tmp_path / "photos" / label / f"{number}.jpg"
                )
    done = edgecat(
        "export",
        CHECKPOINTS / "mobilenet.keras",
        "--int8",
        "--format",
        "tflite",
        "--data",
        "photos",
        "--name",
        "mine",
    )
    assert done.returncode == 0, done.stderr
    assert "warning: only 8 photos to calibrate on" in done.stderr
    card = read_card(tmp_path / "mine-int8.tflite")
    assert (
        card.verification["inputs"],
        card.verification["count"],
        card.verification["accuracy"],
    ) == ("photos", 8, 1.0)
    assert card.calibration["photos"] == 8


def broken_checkpoint(path: Path) -> None:
    """Calibrated on nothing: ranges a thousand times too small, so that int8 answers nonsense."""
    from edgecat_export import checkpoint

    model, card = checkpoint.load(CHECKPOINTS / "mobilenet.keras")
    ranges = {
        name: (low / 1000, high / 1000) for name, (low, high) in card.calibration["ranges"].items()
    }
    ranges["pixels"] = card.calibration["ranges"]["pixels"]
    checkpoint.save(
        model, dataclasses.replace(card, calibration={**card.calibration, "ranges": ranges}), path
    )


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
def test_a_file_that_falls_short_is_not_written(
    edgecat: Run, tmp_path: Path, exported: Path
) -> None:
    broken_checkpoint(tmp_path / "broken.keras")
    earlier = tmp_path / "mobilenet-int8.tflite"
    shutil.copy(exported / earlier.name, earlier)
    digest = hashlib.sha256(earlier.read_bytes()).hexdigest()
    done = edgecat("export", "broken.keras", "--int8", "--format", "tflite")
    assert done.returncode == 1
    assert "NOT WRITTEN" in done.stdout
    assert "edgecat: mobilenet-int8.tflite: not written: agreement" in done.stderr
    assert hashlib.sha256(earlier.read_bytes()).hexdigest() == digest
    assert {path.name for path in tmp_path.iterdir()} == {"broken.keras", earlier.name}


def test_what_counts_as_falling_short() -> None:
    good = Verification("photos", 1000, 0.99, 0.1, 0.001, accuracy=0.985, accuracy_of_keras=0.987)
    assert good.accuracy_lost == pytest.approx(0.2)
    assert good.shortfalls(limits("int8", photos=True, labels=3)) == []
    assert good.shortfalls(limits("int8", photos=True, labels=3, max_drop=0.1)) == [
        "0.20 points of accuracy lost, expected at most 0.1"
    ]
    assert good.shortfalls(limits("int8", photos=True, labels=3, min_agreement=0.995)) == [
        "agreement 99.00%, expected at least 99.5%"
    ]
    assert len(good.shortfalls(limits("fp32", photos=True, labels=3))) == 3
    many = dataclasses.replace(good, mean_difference=0.0001, accuracy=0.60, accuracy_of_keras=0.61)
    assert (
        many.shortfalls(limits("int8", photos=True, labels=1000)) == []
    )  # 98 % of 61 % are 59.8 %
    assert dataclasses.replace(many, accuracy=0.59).shortfalls(
        limits("int8", photos=True, labels=1000)
    ) == ["2.00 points of accuracy lost, expected at most 1.22"]


def test_misuse_of_export(edgecat: Run, tmp_path: Path) -> None:
    done = edgecat("export", "mobilenett", "--int8")
    assert (done.returncode, done.stdout) == (1, "")
    known = f"did you mean 'mobilenet'? Known: {', '.join(ARCHITECTURES)}"
    assert done.stderr == f"edgecat: unknown architecture 'mobilenett'; {known}\n"
    (tmp_path / "mobilenet-int8.tflite").write_text("somebody's own")
    done = edgecat("export", "mobilenet", "--int8")
    assert done.returncode == 1
    assert "exists and was not made by 'edgecat export'; give --force" in done.stderr
    assert (tmp_path / "mobilenet-int8.tflite").read_text() == "somebody's own"
    (tmp_path / "mobilenet-int8.tflite").unlink()
    done = edgecat("export", "mobilenet", "--data", "nowhere")
    assert (done.returncode, done.stderr) == (
        1,
        "edgecat: nowhere: no such folder; expected a folder of photos\n",
    )
    assert edgecat("export", "mobilenet", "--format", "coreml").returncode == 2
    assert edgecat("classify", "--model", CHECKPOINTS / "mobilenet.keras", CHELSEA).returncode == 1
