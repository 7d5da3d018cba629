"""The least accuracy that the README reports, on the test photos beside the project."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real import ROOT

from edgecat import Classifier
from edgecat.measure.accuracy import LabelledPhoto, find_labelled_photos
from edgecat.photo import decode, read_pixels

Answers = dict[Path, str]


def answers(classifier: Classifier, photos: list[LabelledPhoto]) -> Answers:
    paths = [photo.path for photo in photos]
    return {
        path: result.label
        for path, result in zip(paths, classifier.classify_many(paths), strict=True)
    }


def accuracy(given: Answers, photos: list[LabelledPhoto], label: str | None = None) -> float:
    return float(
        np.mean(
            [given[photo.path] == photo.label for photo in photos if label in (None, photo.label)]
        )
    )


def agreement(one: Answers, other: Answers) -> float:
    return float(np.mean([one[path] == other[path] for path in one]))


@pytest.fixture(scope="module")
def pets(shared_data: Path) -> list[LabelledPhoto]:
    return list(find_labelled_photos([str(shared_data / "test_set")]))


@pytest.fixture(scope="module")
def of_default(pets: list[LabelledPhoto]) -> Answers:
    with Classifier(threads=1) as classifier:
        return answers(classifier, pets)


def test_accuracy_of_the_default_model(pets: list[LabelledPhoto], of_default: Answers) -> None:
    assert len(pets) == 2000
    assert accuracy(of_default, pets) >= 0.98
    assert accuracy(of_default, pets, "cat") >= 0.975
    assert accuracy(of_default, pets, "dog") >= 0.98


FLOORS = {  # a little below README's table
    ("oxford", "cat"): 0.94,
    ("oxford", "dog"): 0.98,
    ("stock", "cat"): 0.93,
    ("stock", "dog"): 0.97,
    ("stock", "neither"): 0.90,
    ("street", "cat"): 0.61,
    ("street", "neither"): 0.98,
    ("new_kinds", "neither"): 0.81,
}


def test_accuracy_on_photos_of_other_origins(shared_data: Path) -> None:
    folders = dict.fromkeys(origin for origin, _ in FLOORS)
    photos = list(find_labelled_photos([str(shared_data / "origins" / name) for name in folders]))
    with Classifier(threads=1) as classifier:
        given = answers(classifier, photos)
    for (origin, label), floor in FLOORS.items():
        some = [photo for photo in photos if (photo.origin, photo.label) == (origin, label)]
        assert accuracy(given, some) >= floor, (origin, label)


def test_other_things_are_neither(shared_data: Path) -> None:
    others = list(find_labelled_photos([f"neither={shared_data / 'neither' / 'test'}"]))
    with Classifier(threads=1) as classifier:
        assert accuracy(answers(classifier, others), others) >= 0.97


def test_draft_and_full_decoding_give_the_same_label(
    shared_data: Path, pets: list[LabelledPhoto]
) -> None:
    paths = [photo.path for photo in (*pets, *find_labelled_photos([str(shared_data / "photos")]))]
    differ = 0
    with Classifier(threads=1) as classifier:
        for path in paths:
            by_draft, in_full = classifier.pixels(path), classifier.pixels(np.asarray(decode(path)))
            if not np.array_equal(by_draft, in_full):
                differ += classifier.classify(by_draft).label != classifier.classify(in_full).label
    assert differ <= 0.002 * len(paths)


def test_jpegs_decoded_a_little_smaller_than_they_are_read_get_the_same_labels(
    pets: list[LabelledPhoto],
) -> None:
    """Photos of 500 x 375 pixels are upscaled by the default model's `detail`.

    Every eighth test photo is enlarged to that size.
    """
    some = pets[::8]
    with Classifier(threads=1) as classifier:
        whole = dataclasses.replace(classifier.card.input, detail=1.0)
        quick, slow = {}, {}
        for photo in some:
            image, file = decode(photo.path), io.BytesIO()
            share = 375 / min(image.size)
            image.resize(
                (round(image.width * share), round(image.height * share)), Image.Resampling.BICUBIC
            ).save(file, "JPEG", quality=92)
            assert not np.array_equal(
                classifier.pixels(file.getvalue()), read_pixels(file.getvalue(), whole)
            )
            quick[photo.path] = classifier.classify(file.getvalue()).label
            slow[photo.path] = classifier.classify(read_pixels(file.getvalue(), whole)).label
    assert agreement(quick, slow) >= 0.98
    assert accuracy(quick, some) >= accuracy(slow, some) - 0.01


@pytest.mark.skipif(importlib.util.find_spec("tf2onnx") is None, reason="needs edgecat[export]")
def test_int8_keeps_the_accuracy_and_both_formats_agree(
    pets: list[LabelledPhoto], of_default: Answers, tmp_path: Path
) -> None:
    """On every eighth photo; bench/exports.py measures all."""
    from edgecat_export.pipeline import Request, export

    some = pets[::8]
    checkpoints = ROOT / "export" / "edgecat_export" / "checkpoints"
    checkpoint = checkpoints / "efficientnet_lite0.keras"
    export(Request(checkpoint, tmp_path, ["fp32", "int8"], ["onnx"]))
    given = {}
    for precision in ("fp32", "int8"):
        with Classifier(tmp_path / f"efficientnet_lite0-{precision}.onnx", threads=1) as classifier:
            given[precision] = answers(classifier, some)
    assert 100 * (accuracy(given["fp32"], some) - accuracy(of_default, some)) <= 1
    assert agreement(given["int8"], of_default) >= 0.99
