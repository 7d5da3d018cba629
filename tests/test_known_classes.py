"""The head that still knows ImageNet's classes, and its int8 files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from real import CHELSEA, COFFEE

from edgecat import ModelCard, read_pixels
from edgecat.classifier import Classifier

needs_keras = pytest.mark.skipif(
    importlib.util.find_spec("keras") is None, reason="needs edgecat[export]"
)
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), needs_keras]
SIZE = 64  # pixels
LABELS = ("cat", "dog", "neither")


def head_of(channels: int, seed: int = 0) -> tuple[Any, Any]:
    """Return a kernel and a bias as those of ImageNet's classes, of a low rank."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, 1, (channels, 40)) @ rng.normal(0, 0.4, (40, 1000))
    return kernel.astype(np.float32), rng.normal(0, 1, 1000).astype(np.float32)


def classifier() -> Any:
    from edgecat_export.networks.classifier import build_classifier

    return build_classifier("mobilenet", 3, SIZE, 0.25, None)


def test_a_labels_logit_has_the_best_of_its_classes_in_it() -> None:
    import keras
    from edgecat_export.training.network.known_classes import SHARE, groups_of, with_known_classes

    plain = classifier()
    kernel, bias = head_of(256)
    weights = plain.get_layer("scores").get_weights()
    base = keras.Model(plain.input, plain.get_layer("dropout").input)
    model = with_known_classes(plain, LABELS, kernel, bias)
    pixels = np.random.default_rng(1).normal(0, 1, (4, SIZE, SIZE, 3)).astype(np.float32)
    features = base.predict_on_batch(pixels)

    classes = features @ kernel + bias
    places = groups_of(LABELS)
    assert places is not None
    assert [len(places[label]) for label in LABELS] == [5, 118, 877]
    best = np.stack([classes[:, places[label]].max(axis=1) for label in LABELS], axis=1)
    logits = features @ weights[0] + weights[1] + SHARE * best
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.allclose(model.predict_on_batch(pixels), expected, atol=1e-4)
    trained = {layer.name for layer in model.layers if layer.trainable and layer.weights}
    assert not any(name.startswith("known") for name in trained)


def test_labels_that_are_no_groups_of_imagenets_classes_have_none() -> None:
    from edgecat_export.training.network.known_classes import groups_of, with_known_classes

    assert groups_of(("ok", "scratched")) is None
    assert groups_of(("cat", "ok")) is None
    with pytest.raises(ValueError, match="ok, scratched: not all are groups"):
        with_known_classes(classifier(), ("ok", "scratched"), *head_of(256))


def test_a_temperature_divides_all_that_is_in_the_logits() -> None:
    from edgecat_export.training.network.known_classes import with_known_classes
    from edgecat_export.training.temperature import apply_temperature, temper

    model = with_known_classes(classifier(), LABELS, *head_of(256))
    pixels = np.random.default_rng(1).normal(0, 1, (4, SIZE, SIZE, 3)).astype(np.float32)
    before = model.predict_on_batch(pixels)
    apply_temperature(model, 2.5)
    assert np.allclose(model.predict_on_batch(pixels), temper(before, 2.5), atol=1e-5)


def test_the_int8_files_answer_like_the_checkpoint(tmp_path: Path) -> None:
    from edgecat_export import checkpoint
    from edgecat_export.architectures import find_architecture
    from edgecat_export.networks.fold import fold_batch_normalization
    from edgecat_export.pipeline import Request, export
    from edgecat_export.quantisation.observation import observe, statistics_of
    from edgecat_export.training.network.known_classes import with_known_classes

    model = with_known_classes(classifier(), LABELS, *head_of(256))
    recipe = find_architecture("mobilenet").recipe(SIZE)
    photos = (CHELSEA, COFFEE)
    inputs = recipe.normalise(np.stack([read_pixels(path, recipe) for path in photos]))
    folded = fold_batch_normalization(model)
    found = statistics_of(folded, observe(folded, [inputs, inputs[:, ::-1]]), recipe)
    calibration = {"photos": 4, "sha256": "", "seed": 1, **found._asdict()}
    card = ModelCard("mobilenet", "mobilenet", LABELS, recipe, calibration=calibration)
    source = tmp_path / "model.keras"
    checkpoint.save(model, card, source)
    made = export(Request(source, tmp_path, ["int8"], ["tflite", "onnx"], name="model"))
    assert [file.path is not None for file in made] == [True, True]
    expected = model.predict_on_batch(inputs)
    for file in made:
        assert file.path is not None
        with Classifier(file.path) as device:
            for photo, scores in zip(photos, expected, strict=True):
                answer = dict(device.classify(photo).scores)
                found_scores = [answer[label] for label in LABELS]
                assert found_scores == pytest.approx(scores.tolist(), abs=0.1)


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("model_1/relu._1/Relu6;model_1/conv._1/convolution", "relu"),
        ("model_1/dense._1/MatMul;model_1/dense._1/BiasAdd", "dense"),
        ("model_1/dense._1/BiasAdd;model_1/dense._1/MatMul", "dense"),
        ("m/first._1/BiasAdd;m/second._1/MatMul;m/second._1/BiasAdd", "second"),
        ("pixels", None),
    ],
)
def test_a_tensor_is_named_after_the_layer_that_makes_it(tensor: str, layer: str | None) -> None:
    from edgecat_export.formats.tracing import layer_of_tensor

    assert layer_of_tensor(tensor) == layer
