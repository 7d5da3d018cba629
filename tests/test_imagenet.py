"""ImageNet models: 1,000 names and their groups; exporting, classifying, evaluating."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import io
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from edgecat_export.architectures import ARCHITECTURES
from real import CHELSEA, COFFEE, ROOT, SHARED, Run

from edgecat import Classifier, read_card
from edgecat.formats import write_card
from edgecat.labels import imagenet_classes, imagenet_groups, imagenet_name, label_of_folder
from edgecat.models import DEFAULT_MODEL

needs_export = pytest.mark.skipif(
    importlib.util.find_spec("tf2onnx") is None, reason="needs edgecat[export]"
)
CHECKPOINT = ROOT / "export" / "edgecat_export" / "checkpoints" / "mobilenet.keras"


def test_names_in_the_order_of_the_classes() -> None:
    classes = imagenet_classes()
    assert len(classes) == 1000
    assert [found.synset for found in classes] == sorted(found.synset for found in classes)
    assert len({found.name.casefold() for found in classes}) == 1000
    known = {
        0: ("n01440764", "tench"),
        134: ("n02012849", "crane (bird)"),
        207: ("n02099601", "golden retriever"),
        281: ("n02123045", "tabby"),
        504: ("n03063599", "coffee mug"),
        517: ("n03126707", "crane (machine)"),
        999: ("n15075141", "toilet tissue"),
    }
    assert {place: tuple(classes[place]) for place in known} == known


def test_house_cats_and_dogs_are_groups_and_wild_ones_are_neither() -> None:
    groups = imagenet_groups()
    assert Counter(groups.values()) == {"cat": 5, "dog": 118, "neither": 877}
    assert [name for name, group in groups.items() if group == "cat"] == [
        "tabby",
        "tiger cat",
        "Persian cat",
        "Siamese cat",
        "Egyptian cat",
    ]
    dogs = [name for name, group in groups.items() if group == "dog"]
    assert (dogs[0], dogs[-1]) == ("Chihuahua", "Mexican hairless")
    assert {
        groups[name]
        for name in (
            "timber wolf",
            "coyote",
            "dingo",
            "dhole",
            "African hunting dog",
            "red fox",
            "hyena",
            "lynx",
            "cougar",
        )
    } == {"neither"}


def test_names_of_imagenets_files_and_folders() -> None:
    assert (
        imagenet_name("n02123045_tabby.JPEG")
        == imagenet_name("n02123045_1234.JPEG")
        == label_of_folder("n02123045")
        == "tabby"
    )
    assert (
        imagenet_name("n021230455.jpg")
        is imagenet_name("n00000001_x.jpg")
        is imagenet_name("tabby.jpg")
        is None
    )
    assert [label_of_folder(name) for name in ("cats", "Dog", "horses")] == ["cat", "dog", "horses"]


@pytest.mark.parametrize(
    ("threshold", "scores", "label", "group"),
    [
        (0.0, [0.3, 0.3, 0.4], "sofa", "cat"),
        (0.0, [0.3, 0.1, 0.6], "sofa", "neither"),
        (0.5, [0.3, 0.3, 0.4], "unsure", "cat"),
        (0.7, [0.3, 0.3, 0.4], "unsure", "unsure"),
    ],
)
def test_the_group_with_the_largest_sum_wins(
    threshold: float, scores: list[float], label: str, group: str, tmp_path: Path
) -> None:
    groups = {"tabby": "cat", "tiger cat": "cat", "sofa": "neither"}
    card = dataclasses.replace(read_card(DEFAULT_MODEL), labels=tuple(groups), groups=groups)
    model = tmp_path / "model.tflite"
    model.write_bytes(write_card(DEFAULT_MODEL.read_bytes(), card))
    with Classifier(model, threshold=threshold) as classifier:
        result = classifier.interpret(np.array(scores, np.float32))
    assert (result.label, result.group) == (label, group)
    assert result.score == result.scores[0].score == pytest.approx(max(scores))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000-class weights of MobileNet 0.5 at 160 pixels, made of the packaged checkpoint.

    Its cats are half tabby, half tiger cat.
    """
    import keras
    from edgecat_export import checkpoint

    model = keras.applications.MobileNet(
        input_shape=(160, 160, 3), alpha=0.5, include_top=True, weights=None
    )
    trained, card = checkpoint.load(CHECKPOINT)
    for layer in model.layers:
        if layer.weights and layer.name != "conv_preds":
            layer.set_weights(trained.get_layer(layer.name).get_weights())
    kernel, bias = trained.get_layer("scores").get_weights()
    names = [found.name for found in imagenet_classes()]
    kernel_of_all, bias_of_all = np.zeros((1, 1, len(kernel), 1000)), np.full(1000, -30.0)
    for name, label, share in (
        ("tabby", "cat", 0.51),
        ("tiger cat", "cat", 0.49),
        ("golden retriever", "dog", 1),
        ("coffee mug", "neither", 1),
    ):
        source, place = card.labels.index(label), names.index(name)
        kernel_of_all[0, 0, :, place], bias_of_all[place] = (
            kernel[:, source],
            bias[source] + np.log(share),
        )
    model.get_layer("conv_preds").set_weights([kernel_of_all, bias_of_all])
    folder = tmp_path_factory.mktemp("weights")
    model.save_weights(folder / "mobilenet.weights.h5")
    model.save(folder / "legacy.h5")
    return folder / "mobilenet.weights.h5"


def crops(folder: Path, count: int, *sources: Path) -> None:
    from PIL import Image

    folder.mkdir(parents=True)
    for source in sources:
        with Image.open(source) as whole:
            for number in range(count):
                whole.crop((4 * number, 0, whole.width, whole.height)).save(
                    folder / f"{source.stem}{number}.jpg"
                )


@pytest.fixture
def int8(
    edgecat: Run, weights: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Exported once, with a plain folder of photos to calibrate on."""
    kept = weights.parent / "mobilenet-imagenet-int8.tflite"
    if not kept.exists():
        photos = tmp_path_factory.mktemp("photos") / "all"
        crops(photos, 10, CHELSEA, COFFEE)
        done = edgecat(
            "export",
            "mobilenet",
            "--weights",
            weights,
            "--int8",
            "--format",
            "tflite",
            "--data",
            photos,
            "--out",
            weights.parent,
        )
        assert done.returncode == 0, done.stderr
        assert "next: edgecat classify --model" in done.stderr
    return kept


@needs_export
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Keras and h5py
def test_a_cat_is_a_tabby(edgecat: Run, int8: Path) -> None:
    done = edgecat("classify", CHELSEA, COFFEE, "--model", int8)
    assert done.returncode == 0, done.stderr
    cat, coffee = done.stdout.splitlines()
    assert cat.split()[1] == "tabby"
    assert cat.split()[3] == "(cat)"
    assert len(cat.split("%")) - 1 == 5  # of 1,000 labels the best five
    assert "coffee mug" in coffee
    assert "(neither)" in coffee
    cat, coffee = (
        json.loads(line)
        for line in edgecat(
            "classify", CHELSEA, COFFEE, "--model", int8, "--json"
        ).stdout.splitlines()
    )
    assert (cat["label"], cat["group"], len(cat["scores"])) == ("tabby", "cat", 5)
    assert (coffee["label"], coffee["group"]) == ("coffee mug", "neither")
    assert (
        len(
            json.loads(
                edgecat("classify", CHELSEA, "--model", int8, "--json", "--top", 1000).stdout
            )["scores"]
        )
        == 1000
    )
    [row] = csv.DictReader(
        io.StringIO(edgecat("classify", CHELSEA, "--model", int8, "--csv").stdout)
    )
    assert (row["label"], row["group"], set(row)) == (
        "tabby",
        "cat",
        {"photo", "label", "score", "group"},
    )


@needs_export
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_card_of_an_imagenet_model(int8: Path, weights: Path) -> None:
    card = read_card(int8)
    assert (card.name, card.architecture, card.labels[281], card.groups["tabby"]) == (
        "mobilenet-imagenet",
        "mobilenet",
        "tabby",
        "cat",
    )
    assert (card.input.height, card.input.mean, card.input.std) == (160, 127.5, 127.5)
    assert card.training == {
        "data": "ImageNet (ILSVRC 2012)",
        "weights": weights.name,
        "alpha": 0.5,
    }
    assert card.verification["inputs"] == "photos"
    assert "accuracy" not in card.verification


@needs_export
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_is_evaluated_by_group_or_by_label(edgecat: Run, int8: Path, tmp_path: Path) -> None:
    for name, photo in (
        ("pets/cats/a.jpg", CHELSEA),
        ("pets/neither/b.jpg", COFFEE),
        ("val/n02123045/a.jpg", CHELSEA),
        ("val/n02123159/b.jpg", CHELSEA),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, tmp_path / name)
    by_group = json.loads(edgecat("evaluate", "pets", "--model", int8, "--json").stdout)
    assert {label: found["accuracy"] for label, found in by_group["classes"].items()} == {
        "cat": 1,
        "neither": 1,
    }
    by_label = json.loads(edgecat("evaluate", "val", "--model", int8, "--json").stdout)
    assert {label: found["accuracy"] for label, found in by_label["classes"].items()} == {
        "tabby": 1,
        "tiger cat": 0,
    }
    (tmp_path / "sample").mkdir()
    shutil.copy(CHELSEA, tmp_path / "sample" / "n02123045_tabby.jpg")
    assert edgecat("evaluate", "sample", "--model", int8).stdout.splitlines()[2].split()[:3] == [
        "tabby",
        "1",
        "100.00%",
    ]
    (tmp_path / "val" / "n02123045").rename(tmp_path / "val" / "unicorn")
    done = edgecat("evaluate", "val", "--model", int8)
    assert done.returncode == 1
    expected = (
        "edgecat: class folder 'unicorn' is no label of mobilenet-imagenet-int8.tflite; "
        "expected cat, dog, neither, or any of its 1000 labels\n"
    )
    assert done.stderr == expected


@needs_export
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_weights_that_keras_has_downloaded_judged_by_group(
    edgecat: Run, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "keras" / "models").mkdir(parents=True)
    shutil.copy(
        weights.parent / "legacy.h5", tmp_path / "keras" / "models" / "mobilenet_5_0_160_tf.h5"
    )  # where Keras keeps its download
    crops(tmp_path / "photos" / "cats", 8, CHELSEA)
    crops(tmp_path / "photos" / "neither", 8, COFFEE)
    asked = (
        "mobilenet",
        "--weights",
        "imagenet",
        "--fp32",
        "--format",
        "tflite",
        "--data",
        "photos",
        "--name",
        "mine",
    )
    done = edgecat("export", *asked, KERAS_HOME=str(tmp_path / "keras"))
    assert done.returncode == 0, done.stderr
    card = read_card(tmp_path / "mine-fp32.tflite")
    assert (card.training["weights"], card.licence) == ("imagenet", "Apache-2.0")
    assert (card.verification["accuracy"], card.verification["counted_by"]) == (1.0, "group")
    with Classifier(tmp_path / "mine-fp32.tflite") as classifier:
        assert classifier.classify(CHELSEA).label == "tabby"
    assert (
        "accuracy by group 100.00%, of Keras 100.00%" in edgecat("info", "mine-fp32.tflite").stdout
    )


@needs_export
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_misuse_of_weights(edgecat: Run, weights: Path, tmp_path: Path) -> None:
    done = edgecat("export", "mobilenet", "--size", 160)
    assert done.returncode == 2
    assert "--size and --alpha belong to --weights" in done.stderr
    known = ", ".join(ARCHITECTURES)
    messages = {
        (
            "mobilenet",
            "--weights",
            weights,
            "--int8",
        ): "int8 needs photos to calibrate on, and ImageNet weights bring none; "
        "give a folder of them with --data, or take --fp32 or --fp16",
        (
            "mobilenet",
            "--weights",
            "none.h5",
            "--fp32",
        ): (
            "none.h5: no such file; "
            "expected ImageNet weights as .h5 or .weights.h5, or the word imagenet"
        ),
        (
            "mobilenet",
            "--weights",
            weights,
            "--fp32",
            "--alpha",
            0.75,
        ): f"{weights}: not the ImageNet weights of mobilenet with alpha 0.75; "
        "expected .h5 or .weights.h5 with all 1,000 classes, and their width as --alpha",
        (
            "mobilenets",
            "--weights",
            "imagenet",
            "--fp32",
        ): f"unknown architecture 'mobilenets'; did you mean 'mobilenet'? Known: {known}",
    }
    for arguments, message in messages.items():
        done = edgecat("export", *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"edgecat: {message}\n")
    done = edgecat("export", "mobilenet", "--weights", "imagenet", "--alpha", 0.6, "--fp32")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(
        "edgecat: no ImageNet weights of mobilenet with alpha 0.6 and size 160: "
        "If imagenet weights are being loaded, alpha can be one of"
    )
    assert list(tmp_path.iterdir()) == []


@needs_export
def test_imagenets_own_photos(edgecat: Run, shared_data: Path, tmp_path: Path) -> None:
    weights = SHARED / "weights" / "mobilenet_v1_0.5_160.weights.h5"
    (tmp_path / "photos").mkdir()
    for photo in (shared_data / "neither" / "training").glob("n*_*.JPEG"):
        if imagenet_name(photo.name):
            os.symlink(photo, tmp_path / "photos" / photo.name)
    done = edgecat(
        "export",
        "mobilenet",
        "--weights",
        weights,
        "--fp32",
        "--int8",
        "--format",
        "tflite",
        "--data",
        "photos",
    )
    assert done.returncode == 0, done.stderr
    right = {}
    for precision in ("fp32", "int8"):
        record = json.loads(
            edgecat(
                "evaluate", "photos", "--model", f"mobilenet-imagenet-{precision}.tflite", "--json"
            ).stdout
        )
        assert record["photos"] > 300
        right[precision] = record["accuracy"]
    assert right["fp32"] > 0.55
    assert right["int8"] > 0.95 * right["fp32"]
