"""The architectures: their inputs, learning on either backend, the features of a frozen base.

The exported files of all answer right.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real import CHELSEA, COFFEE, Run

from edgecat import Classifier, InputRecipe, ModelError, read_card, read_pixels

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("tf2onnx") is None, reason="needs edgecat[export]"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Keras and h5py
]
SIZE = 64  # pixels
PUBLISHED = "resnet50_weights_tf_dim_ordering_tf_kernels.h5"
COLOUR_MEANS = (123.68, 116.779, 103.939)
LITE_SIZES = {f"efficientnet_lite{n}": size for n, size in enumerate((224, 240, 260, 280, 300))}
WITH_IMAGENET = f"{', '.join(LITE_SIZES)}, mobilenet, mobilenet_v2 or resnet50"
NO_IMAGENET = "homemade: has no ImageNet weights; train it with --weights none, or take "
NO_IMAGENET += WITH_IMAGENET


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders cats/ and neither/ of 10 different crops each."""
    folder = tmp_path_factory.mktemp("photos")
    for label, source in (("cats", CHELSEA), ("neither", COFFEE)):
        (folder / label).mkdir()
        with Image.open(source) as whole:
            for number in range(10):
                whole.crop(
                    (
                        8 * number,
                        5 * number,
                        whole.width - 100 + 10 * number,
                        whole.height - 4 * number,
                    )
                ).save(folder / label / f"{number}.jpg")
    return folder


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of ResNet50 for 1,000 classes in the two forms that Keras has published.

    They are random, but the answers differ from photo to photo.
    """
    import h5py
    import keras
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    keras.utils.set_random_seed(1)
    model = keras.applications.ResNet50(input_shape=(SIZE, SIZE, 3), weights=None)
    for number, layer in enumerate(model.layers):
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            gamma = np.full_like(
                gamma, 0.4 if layer.name.endswith("_3_bn") else 1
            )  # else each block adds to the last one's noise
            layer.set_weights(
                [gamma, beta + np.linspace(-0.1, 0.001 * number, len(beta)), mean, variance]
            )
    folder = tmp_path_factory.mktemp("weights")
    model.save_weights(folder / "resnet50.weights.h5")
    with h5py.File(folder / PUBLISHED, "w") as file:
        save_weights_to_hdf5_group(file, model)
    return folder / "resnet50.weights.h5"


def test_what_an_architecture_does_not_have() -> None:
    from edgecat_export.architectures import ARCHITECTURES, find_architecture
    from edgecat_export.networks.classifier import build_classifier, freeze_all_but

    with pytest.raises(
        ModelError,
        match=r"--alpha 0\.5: resnet50 comes in one width; "
        r"leave --alpha out, it is for mobilenet and mobilenet_v2",
    ):
        find_architecture("resnet50", alpha=0.5)
    with pytest.raises(ModelError, match=re.escape(NO_IMAGENET)):
        find_architecture("homemade", imagenet=True)
    model = build_classifier("homemade", 2, 64, None, None)
    freeze_all_but(model, 1)
    assert [layer.name for layer in model.layers if layer.trainable and layer.weights] == [
        "dense",
        "scores",
    ]
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers}
    assert (
        shapes
        | {
            "conv": (62, 62, 32),
            "pool": (31, 31, 32),
            "flatten": (30752,),
            "dense": (128,),
            "scores": (2,),
        }
        == shapes
    )
    recipes = {name: found.recipe(found.size) for name, found in ARCHITECTURES.items()}
    assert recipes == {
        **{name: InputRecipe(size, size, mean=128, std=128) for name, size in LITE_SIZES.items()},
        "homemade": InputRecipe(64, 64, mean=128, std=128),
        "mobilenet": InputRecipe(160, 160, mean=128, std=128),
        "mobilenet_v2": InputRecipe(224, 224, mean=128, std=128),
        "resnet50": InputRecipe(224, 224, mean=COLOUR_MEANS, std=1),
    }


def test_resnet50_takes_rgb_and_answers_as_keras_does_on_bgr(resnet50: Path) -> None:
    import keras
    from edgecat_export.architectures import find_architecture
    from edgecat_export.networks.classifier import build_classifier

    found = find_architecture("resnet50")
    pixels = np.stack([read_pixels(photo, found.recipe(SIZE)) for photo in (CHELSEA, COFFEE)])
    unfolded = keras.applications.ResNet50(input_shape=(SIZE, SIZE, 3), weights=str(resnet50))
    theirs = keras.applications.resnet50.preprocess_input(pixels.astype(np.float32))
    ours = found.imagenet_recipe(SIZE).normalise(pixels)
    assert np.array_equal(ours[..., ::-1], theirs)
    both = keras.Model(unfolded.input, [unfolded.get_layer("avg_pool").output, unfolded.output])
    features, scores = both.predict_on_batch(theirs)
    assert np.abs(both.predict_on_batch(ours)[1] - scores).max() > 1e-3  # it does matter
    published = found.network(SIZE, None, str(resnet50.parent / PUBLISHED), top=True)
    assert np.abs(published.predict_on_batch(ours) - scores).max() < 1e-6
    # The base of a transfer, from a file of the whole network and from one of the base alone.
    model = build_classifier("resnet50", 2, SIZE, None, resnet50)
    base = keras.Model(model.input, model.get_layer("dropout").input)
    assert np.allclose(base.predict_on_batch(ours), features, rtol=1e-4, atol=1e-5)
    keras.Model(unfolded.input, unfolded.get_layer("avg_pool").output).save_weights(
        resnet50.parent / "notop.weights.h5"
    )
    from_base = build_classifier("resnet50", 2, SIZE, None, resnet50.parent / "notop.weights.h5")
    assert all(
        np.array_equal(one, other)
        for one, other in zip(model.get_weights()[:-2], from_base.get_weights()[:-2], strict=True)
    )


def test_resnet50_with_imagenet_weights_as_files(
    edgecat: Run, resnet50: Path, photos: Path, tmp_path: Path
) -> None:
    asked = (
        "--weights",
        resnet50,
        "--size",
        SIZE,
        "--fp32",
        "--int8",
        "--format",
        "tflite",
        "--data",
        photos,
        "--min-agreement",
        0.8,
        "--max-drop",
        100,
    )
    done = edgecat("export", "resnet50", *asked)
    assert done.returncode == 0, done.stderr
    card = read_card(tmp_path / "resnet50-imagenet-int8.tflite")
    assert (card.input, len(card.labels), card.groups["tabby"]) == (
        InputRecipe(SIZE, SIZE, mean=COLOUR_MEANS, std=1.0),
        1000,
        "cat",
    )
    assert card.training == {"data": "ImageNet (ILSVRC 2012)", "weights": resnet50.name}
    assert "--alpha" not in card.made_by["command"]
    scores = {}
    for path in sorted(tmp_path.glob("resnet50-imagenet-*")):
        with Classifier(path) as classifier:
            scores[path.name] = np.array(
                [score for _, score in sorted(classifier.classify(CHELSEA).scores)]
            )
    assert len(scores) == 2
    wanted = scores["resnet50-imagenet-fp32.tflite"]
    for name, got in scores.items():
        assert np.corrcoef(got, wanted)[0, 1] > (0.9 if "int8" in name else 0.99999), name


def test_all_learn_and_answer_on_either_backend(photos: Path) -> None:
    script = f"""
import json, sys
import keras
from edgecat_export.architectures import ARCHITECTURES
from edgecat_export.dataset import find_dataset
from edgecat_export.training.batches import AugmentedPhotos
from edgecat_export.training.network.head import jit
from edgecat_export.training.network.initial import initial_network
from edgecat_export.training.options import Options
dataset = find_dataset([{str(photos)!r}])
losses = {{}}
larger = {{f"efficientnet_lite{{number}}" for number in (1, 2, 3, 4)}}  # of the same layers
for name, found in ARCHITECTURES.items():
    if name in larger:
        continue
    alpha = None if found.alpha is None else 0.35 if name == "mobilenet_v2" else 0.25
    asked = Options(name, ({str(photos)!r},), None, alpha, 32, epochs=1, batch=4, mixup=0)
    model = initial_network(asked, dataset.labels)
    loss = keras.losses.CategoricalCrossentropy()
    model.compile(keras.optimizers.SGD(1e-3), loss, jit_compile=jit())  # Adam: minutes to compile
    inputs, targets = AugmentedPhotos(dataset, asked, 1, 0)[0]
    before = [weight.copy() for weight in model.get_weights()]
    loss = float(model.train_on_batch(inputs, targets))
    changed = sum(bool((old != new).any()) for old, new in zip(before, model.get_weights()))
    losses[name] = loss, changed / len(before)
print(json.dumps([keras.backend.backend(), losses]))
"""
    kinds = ["efficientnet_lite0", "homemade", "mobilenet", "mobilenet_v2", "resnet50"]
    backends = ["tensorflow", *(["jax"] if importlib.util.find_spec("jax") else [])]
    for backend in backends:
        quick_to_compile = (
            "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
        )
        environment = {
            **os.environ,
            "KERAS_BACKEND": backend,
            "JAX_PLATFORMS": "cpu",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "XLA_FLAGS": quick_to_compile,
        }
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        used, losses = json.loads(done.stdout.splitlines()[-1])
        assert (used, list(losses)) == (backend, kinds)
        for name, (loss, changed) in losses.items():
            assert 0 < loss < 10, name
            assert changed > 0.9, name


def test_homemade_from_training_to_int8(edgecat: Run, photos: Path, tmp_path: Path) -> None:
    done = edgecat(
        "train",
        "homemade",
        photos,
        "--epochs",
        6,
        "--batch",
        4,
        "--validation",
        0.2,
        "--mixup",
        0,
        "--learning-rate",
        1e-3,
        "--out",
        "run",
    )
    assert done.returncode == 0, done.stderr
    assert (
        json.loads((tmp_path / "run" / "training.json").read_text())["training"]["weights"] is None
    )
    done = edgecat("export", "run/model.keras", "--int8")
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "homemade-int8.tflite", tmp_path / "homemade-int8.onnx"):
        with Classifier(path) as classifier:
            assert [classifier.classify(photo).label for photo in (CHELSEA, COFFEE)] == [
                "cat",
                "neither",
            ]


def test_features_of_a_frozen_base(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras
    from edgecat_export.architectures import find_architecture
    from edgecat_export.networks.classifier import build_classifier
    from edgecat_export.training.network import features

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(features, "AT_ONCE", 8)
    keras.utils.set_random_seed(1)
    model = build_classifier("mobilenet", 2, SIZE, 0.25, None)
    recipe = find_architecture("mobilenet").recipe(SIZE)
    plain = keras.Model(model.input, model.get_layer("dropout").input)
    base = features.Base(plain, recipe)
    paths = sorted(photos.rglob("*.jpg"))
    pixels = np.stack([read_pixels(path, recipe) for path in paths])
    for mirrored in (False, True):
        wanted = plain.predict_on_batch(
            recipe.normalise(pixels[:, :, ::-1] if mirrored else pixels)
        )
        assert np.allclose(base.features(paths, mirrored), wanted, rtol=2e-3, atol=1e-4)
    files = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "edgecat" / "features").iterdir()
    }
    assert len(files) == 2 * 3  # of 20 photos, 8 at once
    computed: list[int] = []

    def compute(self: object, some: list[Path], mirrored: bool) -> np.ndarray:
        computed.append(len(some))
        return np.zeros((len(some), 256), np.float32)

    monkeypatch.setattr(features.Base, "_compute", compute)
    base.features(paths)
    assert computed == []
    next(iter(files)).unlink()  # as if a kill had come before it
    base.features(paths), base.features(paths, mirrored=True)
    assert len(computed) == 1
    computed.clear()
    for path, damage in zip(
        files, (b"", next(iter(files)).read_bytes()[:100], b"no numbers"), strict=False
    ):
        path.write_bytes(damage)  # cut short, or something else: computed again, and mended
    base.features(paths), base.features(paths, mirrored=True)
    assert len(computed) == 3
    computed.clear()
    base.features(paths), base.features(paths, mirrored=True)
    assert computed == []
    changed = [*paths[:-1], CHELSEA]
    assert not base.features(changed)[-1].any()
    assert computed == [4]  # the last file's alone
    computed.clear()
    plain.layers[1].set_weights([1.01 * weight for weight in plain.layers[1].get_weights()])
    features.Base(plain, recipe).features(paths)
    features.Base(plain, InputRecipe(SIZE, SIZE, mean=127.5, std=127.5)).features(paths)
    assert computed == [8, 8, 4] * 2
    computed.clear()
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # where nothing can be kept
    assert not base.features(paths).any()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert not base.features(paths).any()
    assert computed == [8, 8, 4] * 2


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_a_second_head_needs_no_second_look_at_the_photos(
    edgecat: Run, photos: Path, tmp_path: Path
) -> None:
    import keras

    keras.applications.MobileNet(
        input_shape=(SIZE, SIZE, 3), alpha=0.25, weights=None
    ).save_weights(tmp_path / "small.weights.h5")
    small = ("--weights", "small.weights.h5", "--alpha", 0.25, "--size", SIZE)
    asked = (
        "mobilenet",
        photos,
        *small,
        "--fine-tune",
        0,
        "--validation",
        0.2,
        "--epochs",
        3,
        "--batch",
        4,
    )
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = edgecat("train", *asked, "--out", "one", **cache)
    assert done.returncode == 0, done.stderr
    assert read_card(tmp_path / "one" / "model.keras").training["weights"] == "small.weights.h5"
    kept = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "cache" / "edgecat" / "features").iterdir()
    }
    assert len(kept) == 2
    done = edgecat("train", *asked, "--learning-rate", 1e-2, "--seed", 2, "--out", "other", **cache)
    assert done.returncode == 0, done.stderr
    assert {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "cache" / "edgecat" / "features").iterdir()
    } == kept
    assert "model-fp32.tflite on the validation photos:" in done.stderr


def test_misuse(edgecat: Run, photos: Path, tmp_path: Path) -> None:
    one_width = "comes in one width; leave --alpha out, it is for mobilenet and mobilenet_v2"
    messages = {
        ("train", "resnet50", photos, "--alpha", 0.5): f"--alpha 0.5: resnet50 {one_width}",
        ("train", "homemade", photos, "--weights", "imagenet"): NO_IMAGENET,
        ("export", "homemade", "--weights", "imagenet", "--fp32"): NO_IMAGENET,
        (
            "export",
            "resnet50",
            "--weights",
            CHELSEA,
            "--fp32",
        ): f"{CHELSEA}: not the ImageNet weights of resnet50; "
        "expected .h5 or .weights.h5 with all 1,000 classes",
        (
            "export",
            "resnet50",
        ): (
            "resnet50: the package has no checkpoint of it; "
            "train one with 'edgecat train resnet50', and give its model.keras"
        ),
    }
    for arguments, message in messages.items():
        done = edgecat(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"edgecat: {message}\n")
    assert list(tmp_path.iterdir()) == []
