"""The remedies for plain int8 that loses too much accuracy.

The checkpoints here are spoilt for int8, but answer in float as before.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgecat_export.training.augmentation import augment
from PIL import Image
from real import CHELSEA, COFFEE, Run

from edgecat import Classifier, read_card

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("tf2onnx") is None, reason="needs edgecat[export]"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of Keras
]


def spoilt(path: Path, spoil: Callable[[Any], None]) -> None:
    from edgecat_export import checkpoint

    model, card = checkpoint.load(checkpoint.find_checkpoint("mobilenet"))
    spoil(model)
    card.calibration["means"]["conv_dw_5_relu"][3] = 0  # as is true of `weights_of_nothing`
    checkpoint.save(model, dataclasses.replace(card, name="spoilt"), path)


def far_logit(model: Any) -> None:
    """Set the logit of `dog` to -5000.

    That leaves the others one step of int8 for everything between -10 and 10.
    """
    kernel, bias = model.get_layer("scores").get_weights()
    bias[1] = -5000
    model.get_layer("scores").set_weights([kernel, bias])


def weights_of_nothing(model: Any) -> None:
    """Set weights of 1000 for a channel that is always zero: int8 rounds all others to 0."""
    normalization = model.get_layer("conv_dw_5_bn")
    weights = normalization.get_weights()
    weights[0][3] = weights[1][3] = 0  # gamma and beta
    normalization.set_weights(weights)
    [kernel] = model.get_layer("conv_pw_5").get_weights()
    kernel[0, 0, 3] = 1000
    model.get_layer("conv_pw_5").set_weights([kernel])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for label, source in (("cat", CHELSEA), ("neither", COFFEE)):
        (folder / label).mkdir()
        with Image.open(source) as whole:
            for number in range(16):
                whole.crop((3 * number, 2 * number, whole.width - number, whole.height)).save(
                    folder / label / f"{number}.jpg"
                )
    return folder


def test_another_range_for_the_logits_brings_int8_back(
    edgecat: Run, photos: Path, tmp_path: Path
) -> None:
    spoilt(tmp_path / "spoilt.keras", far_logit)
    done = edgecat("export", "spoilt.keras", "--int8", "--format", "tflite", "--data", photos)
    assert done.returncode == 0, done.stderr
    assert "int8 tflite with min/max ranges falls short: " in done.stderr
    card = read_card(tmp_path / "spoilt-int8.tflite")
    assert card.calibration["strategy"] == "the logits' range by entropy"
    assert card.verification["agreement"] == 1
    assert card.verification["classes"]["cat"]["accuracy"] == 1
    assert (
        "spoilt-int8.tflite: right on cat 100.00% (+0.00), neither 100.00% (+0.00)" in done.stdout
    )


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_layers_in_float32_bring_int8_back_if_allowed(
    edgecat: Run, tmp_path: Path, kind: str
) -> None:
    spoilt(tmp_path / "spoilt.keras", weights_of_nothing)
    if kind == "tflite":
        done = edgecat("export", "spoilt.keras", "--int8", "--format", kind, "--explain")
        assert done.returncode == 1
        assert "spoilt-int8.tflite: not written: agreement" in done.stderr
        worst = done.stdout.split("worst first")[1].splitlines()[1].split()
        assert (worst[0], float(worst[1]) < 3, float(worst[3]) < 3) == (
            "conv_pw_5",
            True,
            True,
        )  # alone, and in the file
        assert {path.name for path in tmp_path.iterdir()} == {"spoilt.keras"}
    done = edgecat("export", "spoilt.keras", "--int8", "--format", kind, "--mixed")
    assert done.returncode == 0, done.stderr
    card = read_card(tmp_path / f"spoilt-int8.{kind}")
    assert card.calibration["float_layers"] == ["conv_pw_5"]
    assert card.made_by["command"].endswith(f"--mixed --int8 --format {kind}")
    with Classifier(tmp_path / f"spoilt-int8.{kind}") as classifier:
        assert [classifier.classify(photo).label for photo in (CHELSEA, COFFEE)] == [
            "cat",
            "neither",
        ]


def test_input_and_output_may_be_int8(edgecat: Run, exported: Path, tmp_path: Path) -> None:
    assert (
        edgecat("export", "mobilenet", "--int8", "--format", "tflite", "--io", "int8").returncode
        == 0
    )
    with (
        Classifier(tmp_path / "mobilenet-int8.tflite") as signed,
        Classifier(exported / "mobilenet-int8.tflite") as unsigned,
    ):
        pixels = signed.pixels(CHELSEA)
        assert [str(classifier.tensor(pixels).dtype) for classifier in (signed, unsigned)] == [
            "int8",
            "uint8",
        ]
        assert np.array_equal(
            signed.run(signed.tensor(pixels)), unsigned.run(unsigned.tensor(pixels))
        )
    done = edgecat("export", "mobilenet", "--io", "float32")
    assert done.returncode == 2
    assert "unknown type 'float32'; expected uint8 or int8" in done.stderr


def test_corrected_biases_take_the_shift_out_of_the_layers() -> None:
    import keras
    from edgecat_export import checkpoint
    from edgecat_export.networks import fold
    from edgecat_export.quantisation.bias_correction import correct_biases
    from edgecat_export.quantisation.observation import observe
    from edgecat_export.quantisation.rounding import rounded_kernel

    model, card = checkpoint.load(checkpoint.find_checkpoint("mobilenet"))
    folded = fold.fold_batch_normalization(model)
    variants = [
        augment((CHELSEA, COFFEE)[i % 2], card.input, np.random.default_rng(i)) for i in range(24)
    ]
    pictures = card.input.normalise(np.stack(variants))
    observed = observe(folded, [pictures])
    corrected = correct_biases(folded, {name: outputs.means for name, outputs in observed.items()})
    name = "conv_pw_3"
    layer, other = folded.get_layer(name), corrected.get_layer(name)
    before = keras.Model(folded.input, layer.input).predict_on_batch(pictures)
    rounded = [rounded_kernel(layer), layer.get_weights()[1]]
    wanted = layer(before).numpy()
    shifts = []
    for bias in (layer.get_weights()[1], other.get_weights()[1]):
        kernel = layer.get_weights()[0]
        layer.set_weights([rounded[0], bias])
        shifts.append(np.abs((layer(before).numpy() - wanted).mean(axis=(0, 1, 2))).max())
        layer.set_weights([kernel, rounded[1]])
    assert (
        shifts[1] < 0.02 * shifts[0]
    )  # a pointwise layer: the correction is exact but for rounding


def test_a_float_file_of_another_precision_is_seen() -> None:
    from edgecat_export import checkpoint
    from edgecat_export.formats import onnx, tflite
    from edgecat_export.networks import fold

    model, _ = checkpoint.load(checkpoint.find_checkpoint("mobilenet"))
    folded = fold.fold_batch_normalization(model)
    half = onnx.to_float(folded, "fp16")
    onnx.check_float(half, "fp16")
    with pytest.raises(
        ValueError, match="not a fp32 ONNX model: the weights 'conv1/Conv:1_fp16' are not fp32"
    ):
        onnx.check_float(half, "fp32")
    with pytest.raises(
        ValueError, match="not a quantised ONNX model, float inputs: 'conv1/Conv' takes"
    ):
        onnx.check_quantised(half)
    single = tflite.to_float(folded, "fp32")
    tflite.check_float(single)
    with pytest.raises(
        ValueError, match="not an integer TFLite model: 'serving_default_pixels:0' is not uint8"
    ):
        tflite.check_integer(single)


def test_ranges_by_least_squares_cut_off_what_is_rare() -> None:
    from edgecat_export.quantisation.observation import Outputs
    from edgecat_export.quantisation.ranges import least_squares
    from edgecat_export.quantisation.rounding import rounded

    values = np.random.default_rng(0).normal(size=(50, 1000)).astype(np.float32)
    values[0, 0] = 200
    observed = {"layer": Outputs(float(values.min()), 200.0, values, values.mean(axis=0))}
    wide = {"layer": (float(values.min()), 200.0), "pixels": (-1.0, 1.0)}
    narrow = least_squares(wide, observed)
    errors = [
        float(np.square(rounded(values, *ranges["layer"]) - values).mean())
        for ranges in (wide, narrow)
    ]
    assert errors[1] < errors[0]
    assert narrow["pixels"] == (-1.0, 1.0)
