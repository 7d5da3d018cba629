"""The table that makes every input dtype the same code, and the engines that run it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from real import CHELSEA, COFFEE

from edgecat import Classifier, EngineError, InputRecipe
from edgecat.engines import Tensor, TensorSpec, default_threads
from edgecat.engines.tensors import Tensors, input_table
from edgecat.models import DEFAULT_MODEL

SHAPE = (1, 160, 160, 3)
SCORES = TensorSpec((1, 3), np.dtype(np.float32))


def test_float_table_is_the_normalisation() -> None:
    table = input_table(
        InputRecipe(160, 160, mean=127.5, std=127.5), TensorSpec(SHAPE, np.dtype(np.float32))
    )
    assert table is not None
    assert table.dtype == np.float32
    assert table == pytest.approx([(value - 127.5) / 127.5 for value in range(256)])


def test_int8_table_rounds_and_clips() -> None:
    scale, zero_point = 0.0078, 3
    table = input_table(
        InputRecipe(160, 160, mean=120, std=100),
        TensorSpec(SHAPE, np.dtype(np.int8), scale, zero_point),
    )
    assert table is not None
    assert table.dtype == np.int8
    exact = [(value - 120) / 100 / scale + zero_point for value in range(256)]
    assert all(
        abs(int(entry) - min(max(wanted, -128), 127)) <= 0.5001
        for entry, wanted in zip(table, exact, strict=True)
    )
    assert table.min() == -128
    assert table.max() == 127


def test_table_of_a_scale_of_one_over_std_is_the_identity() -> None:
    recipe = InputRecipe(160, 160, mean=128, std=128)
    assert input_table(recipe, TensorSpec(SHAPE, np.dtype(np.uint8), 1 / 128, 128)) is None
    signed = input_table(recipe, TensorSpec(SHAPE, np.dtype(np.int8), 1 / 128, 0))
    assert signed is not None
    assert np.array_equal(signed, np.arange(256) - 128)


def test_a_table_for_each_channel_is_the_plain_computation() -> None:
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    recipe = InputRecipe(160, 160, "crop", mean, std, 0.875)
    pixels = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    exact = (pixels - np.array(mean)) / np.array(std)
    last = TensorSpec(SHAPE, np.dtype(np.float32))
    first = TensorSpec((1, 3, 160, 160), np.dtype(np.float32))
    quantised = TensorSpec(SHAPE, np.dtype(np.uint8), 0.0187, 114)
    table = input_table(recipe, last)
    assert table is not None
    assert table.shape == (256, 3)
    assert Tensors(recipe, last, SCORES).read(pixels) == pytest.approx(exact, abs=1e-5)
    assert Tensors(recipe, first, SCORES).read(pixels) == pytest.approx(
        exact.transpose(2, 0, 1), abs=1e-5
    )
    integers = Tensors(recipe, quantised, SCORES).read(pixels)
    assert integers.dtype == np.uint8
    assert np.abs(integers - np.clip(exact / 0.0187 + 114, 0, 255)).max() <= 0.501


def test_channels_first_of_one_mean_is_the_same_table_turned() -> None:
    recipe, spec = InputRecipe(8, 16), TensorSpec((1, 3, 8, 16), np.dtype(np.float32))
    table = input_table(recipe, spec)
    assert table is not None
    assert table.shape == (256,)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    assert np.array_equal(
        Tensors(recipe, spec, SCORES).read(pixels),
        np.moveaxis((pixels - np.float32(128)) / np.float32(128), 2, 0),
    )


def outputs(spec: TensorSpec, logits: bool = False) -> Tensors:
    return Tensors(
        InputRecipe(8, 8), TensorSpec((1, 8, 8, 3), np.dtype(np.uint8)), spec, logits=logits
    )


@pytest.mark.parametrize(("kind", "zero_point"), [(np.int8, -128), (np.uint8, 0), (np.int16, -7)])
def test_integer_outputs_are_dequantised(kind: type, zero_point: int) -> None:
    integers: Tensor = np.arange(256).astype(kind)
    spec = TensorSpec((1, 256), np.dtype(kind), 1 / 256, zero_point)
    scores = outputs(spec).scores(integers)
    assert scores.dtype == np.float32
    assert scores.tolist() == [(integer - zero_point) / 256 for integer in integers.tolist()]


def test_floats_are_scores_themselves() -> None:
    scores = np.array([0.1, 0.9], np.float32)
    assert outputs(TensorSpec((1, 2), np.dtype(np.float32))).scores(scores) is scores


def test_one_output_makes_two_scores() -> None:
    one = TensorSpec((1, 1), np.dtype(np.float32))
    score, logit = np.array([0.25], np.float32), np.array([np.log(3)], np.float32)
    assert outputs(one).scores(score).tolist() == [0.75, 0.25]
    assert outputs(one, logits=True).scores(logit) == pytest.approx([0.25, 0.75])


def test_logits_become_probabilities_without_overflow() -> None:
    logits = np.array([1000.0, 999.0], np.float32)
    scores = outputs(TensorSpec((1, 2), np.dtype(np.float32)), logits=True).scores(logits)
    assert scores == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))])


def test_default_threads_are_few() -> None:
    assert 1 <= default_threads() <= 4


def test_tensorflows_interpreter_answers_as_litert_does() -> None:
    pytest.importorskip("tensorflow")
    with Classifier(engine="tensorflow") as other, Classifier(engine="litert") as usual:
        assert other.engine.startswith("TensorFlow ")
        for photo in (CHELSEA, COFFEE):
            assert dict(other.classify(photo).scores) == pytest.approx(
                dict(usual.classify(photo).scores), abs=2 / 256
            )


def test_the_gpu_engine_answers_as_the_interpreter_does(
    monkeypatch: pytest.MonkeyPatch, exported: Path
) -> None:
    """Test LiteRT's compiled model with the CPU in place of the GPU.

    Few machines that run tests have a GPU. All but the device is tested.
    """
    compiled_model = pytest.importorskip(
        "ai_edge_litert.compiled_model", reason="needs ai-edge-litert"
    )
    monkeypatch.setattr(
        compiled_model,
        "HardwareAccelerator",
        SimpleNamespace(GPU=compiled_model.HardwareAccelerator.CPU),
    )
    with pytest.raises(
        EngineError,
        match="left parts of this model to the CPU; use --device cpu, or an fp32 or fp16 file",
    ):
        Classifier(device="gpu")
    monkeypatch.setattr(compiled_model.CompiledModel, "is_fully_accelerated", lambda self: True)
    for model in (DEFAULT_MODEL, exported / "mobilenet-fp32.tflite"):
        with Classifier(model) as usual, Classifier(model, device="gpu") as compiled:
            assert compiled.runs_on == "GPU"
            tensor = usual.tensor(usual.pixels(CHELSEA))
            assert compiled.run(tensor) == pytest.approx(usual.run(tensor), abs=1e-5)
            with pytest.raises(EngineError, match="LiteRT runs one photo at a time"):
                compiled.run_batch(np.stack([tensor, tensor]))


def test_what_does_not_fit_a_device() -> None:
    with pytest.raises(
        EngineError,
        match="unknown device 'npu'; expected one of cpu, gpu, cuda, tensorrt, coreml, directml",
    ):
        Classifier(device="npu")
    with pytest.raises(EngineError, match=r"device 'gpu' is none of tflite-runtime; expected cpu"):
        Classifier(device="gpu", engine="tflite-runtime")


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_tflite_runtime_does_not_crash_on_a_copy_that_was_cut_short(
    share: float, tmp_path: Path
) -> None:
    pytest.importorskip("tflite_runtime", reason="needs edgecat[tflite-runtime]")
    whole = DEFAULT_MODEL.read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(
        EngineError,
        match=r"cut\.tflite: tflite-runtime .* cannot open this model .*; copy or export it again",
    ):
        Classifier(path, engine="tflite-runtime")
