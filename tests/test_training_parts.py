"""What training is made of: origins, the split, the order, scenes, refinement and distillation."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from edgecat_export.dataset import (
    FEW_FROM_ORIGIN,
    Dataset,
    Part,
    balanced_order,
    find_dataset,
    part_of,
    repeats,
    split,
)
from edgecat_export.training.augmentation import augment
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from real import CHELSEA, COFFEE, Run

from edgecat import DataError, InputRecipe, read_card, read_pixels
from edgecat.measure.accuracy import LabelledPhoto

has_keras = importlib.util.find_spec("keras") is not None
needs_keras = pytest.mark.skipif(not has_keras, reason="needs edgecat[export]")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Keras and h5py
SIZE = 64  # pixels
RECIPE = InputRecipe(SIZE, SIZE)
RED, BLUE = (200, 30, 30), (30, 30, 200)

Floats = npt.NDArray[np.float32]


# Origins


def touch(folder: Path, names: Iterable[str]) -> str:
    """Create the files of a dataset, of which only the names count; return the folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return str(folder)


def origins_of(folders: Sequence[str]) -> dict[str, str]:
    """Return photo -> origin, by the photo's last two names."""
    photos = find_dataset(folders).photos
    return {f"{photo.path.parent.name}/{photo.path.name}": photo.origin for photo in photos}


def test_photos_that_share_a_prefix_have_it_as_their_origin(tmp_path: Path) -> None:
    shared = [
        *(f"cats/oxford_{number}.jpg" for number in range(12)),
        *(f"dogs/oxford_pug_{number}.jpg" for number in range(FEW_FROM_ORIGIN - 12)),
    ]
    too_few = [f"cats/few_{number}.jpg" for number in range(FEW_FROM_ORIGIN - 1)]
    without = [f"dogs/{number}.jpg" for number in range(FEW_FROM_ORIGIN)]
    unnamed = [f"dogs/_{number}.jpg" for number in range(FEW_FROM_ORIGIN)]
    found = origins_of([touch(tmp_path / "pets", [*shared, *too_few, *without, *unnamed])])
    assert {found[name] for name in shared} == {"oxford"}
    assert {found[name] for name in (*too_few, *without, *unnamed)} == {"pets"}


def test_a_prefix_is_counted_in_each_folder_alone(tmp_path: Path) -> None:
    half = [f"cats/oxford_{number}.jpg" for number in range(FEW_FROM_ORIGIN // 2)]
    folders = [touch(tmp_path / name, [*half, "dogs/a.jpg"]) for name in ("one", "two")]
    assert {photo.origin for photo in find_dataset(folders).photos} == {"one", "two"}


def test_folders_are_told_apart_by_the_shortest_end_of_their_path(tmp_path: Path) -> None:
    folders = [
        touch(tmp_path / "a" / "test", ["cats/1.jpg", "dogs/2.jpg"]),
        touch(tmp_path / "b" / "test", ["cats/3.jpg"]),
        touch(tmp_path / "b" / "wide", ["cats/4.jpg"]),
        "neither=" + touch(tmp_path / "a" / "neither" / "test", ["5.jpg"]),
        touch(tmp_path / "x" / "deep" / "set", ["cats/6.jpg"]),
        touch(tmp_path / "y" / "deep" / "set", ["cats/7.jpg"]),
    ]
    assert origins_of(folders) == {
        "cats/1.jpg": "a/test",
        "dogs/2.jpg": "a/test",
        "cats/3.jpg": "b/test",
        "cats/4.jpg": "wide",
        "test/5.jpg": "neither/test",
        "cats/6.jpg": "x/deep/set",
        "cats/7.jpg": "y/deep/set",
    }


# Split and order


def dataset_of(counts: Mapping[Part, int]) -> Dataset:
    parts = [part for part, count in counts.items() for _ in range(count)]
    photos = [LabelledPhoto(Path(f"{i}.jpg"), *part) for i, part in enumerate(parts)]
    return Dataset(tuple(photos), tuple(sorted({photo.label for photo in photos})))


def part_counts(dataset: Dataset) -> Counter[Part]:
    return Counter(map(part_of, dataset.photos))


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["cat", "dog"]), st.sampled_from("pqrstuv")),
        st.integers(1, 250),
        min_size=1,
    ),
    st.floats(0.001, 0.5),
    st.integers(0, 2**32),
)
def test_every_part_gives_its_share_to_validation(
    counts: dict[Part, int],
    share: float,
    seed: int,
) -> None:
    labels = Counter(label for (label, _), count in counts.items() for _ in range(count))
    dataset = dataset_of(counts)
    if min(labels.values()) < 2:
        with pytest.raises(DataError, match=r"class '(cat|dog)' has one photo; expected at least"):
            split(dataset, share, seed)
        return
    training, validation = split(dataset, share, seed)
    assert len(training.photos) + len(validation.photos) == len(dataset.photos)
    assert {*training.photos, *validation.photos} == {*dataset.photos}
    assert set(labels) == {label for label, _ in part_counts(training)}
    assert set(labels) == {label for label, _ in part_counts(validation)}
    given_away = part_counts(validation)
    for part, count in counts.items():
        if count > 1:
            wanted = max(1, min(FEW_FROM_ORIGIN, count // 5), round(share * count))
            assert given_away[part] == wanted
            assert part in part_counts(training)
    assert split(dataset, share, seed) == (training, validation)


def test_of_folders_of_one_photo_each_one_is_for_validation() -> None:
    alone = {("cat", origin): 1 for origin in "pqrst"}
    training, validation = split(dataset_of({**alone, ("dog", "p"): 10}), 0.05, seed=1)
    assert training.counts() == {"cat": 4, "dog": 8}
    assert validation.counts() == {"cat": 1, "dog": 2}


def test_another_seed_gives_another_split() -> None:
    dataset = dataset_of({("cat", "p"): 40, ("dog", "p"): 40})
    assert split(dataset, 0.1, seed=1) != split(dataset, 0.1, seed=2)


def test_small_parts_are_repeated() -> None:
    counts = {("cat", "p"): 900, ("dog", "p"): 100, ("cat", "q"): 25, ("dog", "q"): 500}
    times = {("cat", "p"): 1, ("dog", "p"): 3, ("cat", "q"): 6, ("dog", "q"): 1}
    dataset = dataset_of(counts)
    assert repeats(dataset) == times
    order = balanced_order(dataset, np.random.default_rng(1))
    shown = np.bincount(order, minlength=len(dataset.photos))
    assert shown.tolist() == [times[part_of(photo)] for photo in dataset.photos]
    assert np.array_equal(order, balanced_order(dataset, np.random.default_rng(1)))
    assert not np.array_equal(order, balanced_order(dataset, np.random.default_rng(2)))
    assert not np.array_equal(order, np.sort(order))


# Scenes


@pytest.fixture
def plain(tmp_path: Path) -> tuple[Path, Path]:
    """A red photo and a blue scene."""
    paths = (tmp_path / "red.png", tmp_path / "blue.png")
    for path, colour in zip(paths, (RED, BLUE), strict=True):
        Image.new("RGB", (160, 120), colour).save(path)
    return paths


def blue_share(pixels: npt.NDArray[np.uint8]) -> float:
    red, _, blue = np.moveaxis(pixels.astype(int), -1, 0)
    return float((blue > red).mean())


def test_some_photos_are_pasted_into_scenes(plain: tuple[Path, Path]) -> None:
    photo, scene = plain

    def variants(scenes: Sequence[Path], strength: float = 1.0) -> list[npt.NDArray[np.uint8]]:
        seeds = range(100)
        rngs = (np.random.default_rng(seed) for seed in seeds)
        return [augment(photo, RECIPE, rng, strength, scenes) for rng in rngs]

    pasted = variants([scene])
    shares = [blue_share(pixels) for pixels in pasted]
    in_scene = [share for share in shares if share > 0]
    assert 10 <= len(in_scene) <= 30  # a fifth of them
    assert min(in_scene) > 0.6
    assert max(in_scene) < 1  # the photo is still in it
    assert max(blue_share(pixels) for pixels in variants([])) == 0
    assert max(blue_share(pixels) for pixels in variants([scene], strength=0)) == 0
    assert np.array_equal(pasted, variants([scene]))


@needs_keras
def test_scenes_are_the_photos_of_an_origin(tmp_path: Path) -> None:
    from edgecat_export.training.batches import AugmentedPhotos, PhotosAndDrift
    from edgecat_export.training.network.distillation import DRIFT
    from edgecat_export.training.options import Options

    for name, colour in (("near/cats/a", RED), ("near/dogs/b", RED), ("far/dogs/c", BLUE)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (96, 96), colour).save(tmp_path / f"{name}.png")
    data = (str(tmp_path / "near"), str(tmp_path / "far"))
    asked = Options("mobilenet", data, None, 0.25, SIZE, 1, scenes=("far",))
    dataset = find_dataset(data)
    photos = AugmentedPhotos(dataset, asked, epoch=1, mixup=0)
    assert photos.scenes == [tmp_path / "far" / "dogs" / "c.png"]
    with_drift = PhotosAndDrift(dataset, asked, epoch=1, mixup=0)
    (inputs, targets), (same, both) = photos[0], with_drift[0]
    assert np.array_equal(inputs, same)
    assert np.array_equal(targets, both["scores"])
    assert np.array_equal(both[DRIFT], np.zeros((3, 1)))


# Refinement


def softmax(logits: npt.NDArray[Any]) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def dense_model(kernel: npt.NDArray[Any]) -> Any:
    import keras

    inputs = keras.Input((kernel.shape[0],))
    scores = keras.layers.Dense(kernel.shape[1], activation="softmax", name="scores")
    model = keras.Model(inputs, scores(inputs))
    scores.set_weights([kernel, np.zeros(kernel.shape[1])])
    return model


@needs_keras
def test_every_origin_and_every_label_in_it_weighs_the_same() -> None:
    from edgecat_export.training.temperature import weights_of_origins

    counts = {("cat", "p"): 30, ("dog", "p"): 10, ("cat", "q"): 5, ("dog", "r"): 1, ("cat", "r"): 2}
    photos = dataset_of(counts).photos
    weights = weights_of_origins(photos)
    assert weights.sum() == pytest.approx(1)
    of_parts = {("cat", "p"): 1 / 6, ("dog", "p"): 1 / 6, ("cat", "q"): 1 / 3}
    of_parts |= {("dog", "r"): 1 / 6, ("cat", "r"): 1 / 6}
    wanted = [of_parts[part_of(photo)] / counts[part_of(photo)] for photo in photos]
    assert weights.tolist() == pytest.approx(wanted)


@needs_keras
@pytest.mark.parametrize("sharpness", [0.5, 1.0, 1.8, 3.0])
def test_the_temperature_is_how_much_too_sure_the_scores_are(sharpness: float) -> None:
    from edgecat_export.training.temperature import find_temperature

    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (5000, 3))
    targets = (softmax(logits).cumsum(axis=1) < rng.random((5000, 1))).sum(axis=1).clip(0, 2)
    scores = softmax(sharpness * logits)
    found = find_temperature(scores, targets, np.full(5000, 1 / 5000))
    assert found == pytest.approx(sharpness, rel=0.06)
    assert find_temperature(scores[:49], targets[:49], np.full(49, 1 / 49)) == 1.0


@needs_keras
def test_a_temperature_changes_the_scores_and_no_label() -> None:
    from edgecat_export.training.temperature import apply_temperature

    rng = np.random.default_rng(0)
    model = dense_model(rng.normal(0, 1, (5, 3)))
    model.get_layer("scores").set_weights([*model.get_weights()[:1], rng.normal(0, 1, 3)])
    inputs = rng.normal(0, 1, (200, 5))
    before = model.predict_on_batch(inputs)
    apply_temperature(model, 1.7)
    after = model.predict_on_batch(inputs)
    assert np.allclose(after, softmax(np.log(before) / 1.7), atol=1e-5)
    assert np.array_equal(after.argmax(axis=1), before.argmax(axis=1))
    assert (after.max(axis=1) < before.max(axis=1)).all()


@needs_keras
@pytest.mark.parametrize(("noise_of_tuned", "noise_of_start", "chosen"), [(0, 5, 1.0), (3, 7, 0.7)])
def test_interpolation_goes_where_the_loss_is_least(
    noise_of_tuned: float,
    noise_of_start: float,
    chosen: float,
) -> None:
    from edgecat_export.training.refinement import interpolate

    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 1000)
    sign, error = 2 * targets - 1, rng.normal(0, 1, 1000)
    # Each network reads one input. In a mean of both, the errors cancel where they weigh the same.
    inputs = np.stack([sign + noise_of_tuned * error, sign - noise_of_start * error], axis=1)
    model = dense_model(np.array([[-1, 1], [0, 0]]))
    before = [np.array([[0, 0], [-1, 1]]), np.zeros(2)]
    answer = partial(model.predict_on_batch, inputs)
    assert interpolate(model, before, answer, targets, np.full(1000, 1 / 1000)) == chosen
    mean = [[-chosen, chosen], [chosen - 1, 1 - chosen]]
    assert np.allclose(model.get_weights()[0], mean, atol=1e-6)


@needs_keras
def test_interpolation_disregards_how_sure_the_scores_are() -> None:
    from edgecat_export.training.refinement import interpolate

    rng = np.random.default_rng(0)
    shown = rng.integers(0, 2, 1000)
    targets = np.where(rng.random(1000) < 0.2, 1 - shown, shown)  # some labels are wrong
    model = dense_model(1.4 * np.eye(2))  # log(0.8 / 0.2): the right scores
    before = [0.7 * np.eye(2), np.zeros(2)]  # a temperature makes them right, too
    answer = partial(model.predict_on_batch, np.eye(2)[shown])
    assert interpolate(model, before, answer, targets, np.full(1000, 1 / 1000)) == 0.5


@needs_keras
def test_interpolation_goes_half_the_way_back_where_that_costs_nothing() -> None:
    from edgecat_export.training.refinement import SHARES, interpolate

    inputs = np.array([[1, 0, 0], [0, 1, 0]] * 30)  # the third input is never used
    targets = np.array([0, 1] * 30)
    kernel = np.array([[1, 0], [0, 1], [5, 7]])
    model = dense_model(kernel)
    before = [np.array([[1, 0], [0, 1], [-1, 1]]), np.zeros(2)]
    answer = partial(model.predict_on_batch, inputs)
    share = interpolate(model, before, answer, targets, np.full(60, 1 / 60))
    assert share == min(SHARES) == 0.5
    assert np.allclose(model.get_weights()[0], [[1, 0], [0, 1], [2, 4]])


@needs_keras
def test_scores_are_probabilities_among_photos_not_repetitions() -> None:
    from edgecat_export.training.fit import undo_repeats

    dataset = dataset_of({("cat", "p"): 90, ("dog", "p"): 10})  # each dog is shown three times
    model = dense_model(np.zeros((1, 2)))
    repeated = [90 / 120, 30 / 120]
    model.get_layer("scores").set_weights([np.zeros((1, 2)), np.log(repeated)])
    undo_repeats(model, dataset)
    assert np.allclose(model.predict_on_batch(np.ones((1, 1))), [[0.9, 0.1]])


# Distillation


def noise(photos: int) -> Floats:
    """Return inputs, (photos, size, size, 3)."""
    rng = np.random.default_rng(0)
    return rng.normal(0, 1, (photos, SIZE, SIZE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def imagenet_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of random weights for 1,000 classes, by architecture; their answers differ."""
    import keras
    from edgecat_export.architectures import find_architecture

    keras.utils.set_random_seed(1)
    folder = tmp_path_factory.mktemp("weights")
    files = {}
    for name, alpha in ALPHAS.items():
        network = find_architecture(name).network(SIZE, alpha, top=True)
        for layer in network.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0  # the statistics of one batch, or the features fade to nothing
        network(noise(16), training=True)
        head = [layer for layer in network.layers if layer.weights][-1]
        head.set_weights([10 * head.get_weights()[0], head.get_weights()[1]])
        files[name] = folder / f"{name}.weights.h5"
        network.save_weights(files[name])
    return files


ALPHAS = {"mobilenet": 0.25, "mobilenet_v2": 0.35, "efficientnet_lite0": None}


@needs_keras
@pytest.mark.parametrize("fine_tune", [None, 2])
@pytest.mark.parametrize("name", ALPHAS)
def test_drift_is_how_far_the_imagenet_classes_have_moved(
    name: str,
    fine_tune: int | None,
    imagenet_files: dict[str, Path],
) -> None:
    from edgecat_export.architectures import find_architecture
    from edgecat_export.networks.classifier import (
        build_classifier,
        freeze_all_but,
        imagenet_network,
    )
    from edgecat_export.training.network.distillation import DRIFT, with_drift

    file, alpha = imagenet_files[name], ALPHAS[name]
    model = build_classifier(name, 2, SIZE, alpha, file)
    if fine_tune is not None:
        freeze_all_but(model, fine_tune)
    original = imagenet_network(name, file, SIZE, alpha)
    assert original is not None
    learner = with_drift(model, original)
    assert len(learner.trainable_variables) == len(model.trainable_variables)

    recipe = find_architecture(name).recipe(SIZE)
    inputs = recipe.normalise(np.stack([read_pixels(path, recipe) for path in (CHELSEA, COFFEE)]))
    found = learner.predict_on_batch(inputs)
    assert np.allclose(found["scores"], model.predict_on_batch(inputs), atol=1e-6)
    assert np.allclose(found[DRIFT], np.zeros((2, 1)), atol=1e-5)

    # The frozen layers stand once in the learner, the others twice.
    twice = {layer.name for layer in learner.get_layer("original").layers if layer.weights}
    learning = [layer for layer in model.layers[:-1] if layer.weights and layer.trainable]
    assert {layer.name for layer in learning} <= twice
    assert len(twice) < 15 if fine_tune else len(twice) > 25
    for layer in learner.layers:
        if layer.weights and layer.name not in ("original", "imagenet_logits"):
            assert layer is model.get_layer(layer.name)

    rng = np.random.default_rng(0)
    moved = find_architecture(name).network(SIZE, alpha, str(file), top=True)
    for layer in learning:
        changed = [value * rng.normal(1, 0.1, value.shape) for value in layer.get_weights()]
        layer.set_weights(changed)
        moved.get_layer(layer.name).set_weights(changed)
    known, now = (network.predict_on_batch(inputs) for network in (original, moved))
    wanted = (known * np.log(known / now)).sum(axis=1, keepdims=True)
    assert (wanted > 0.01).all()
    assert np.allclose(learner.predict_on_batch(inputs)[DRIFT], wanted, rtol=0.01)


@needs_keras
def test_nothing_drifts_in_training_mode_either(imagenet_files: dict[str, Path]) -> None:
    from edgecat_export.networks.classifier import build_classifier, imagenet_network
    from edgecat_export.training.network.distillation import DRIFT, with_drift

    file = imagenet_files["mobilenet"]  # MobileNet's own head has a dropout layer before it
    original = imagenet_network("mobilenet", file, SIZE, 0.25)
    assert original is not None
    learner = with_drift(build_classifier("mobilenet", 2, SIZE, 0.25, file), original)
    drift = np.asarray(learner(noise(64), training=True)[DRIFT])
    assert np.allclose(drift, 0, atol=1e-5)


@needs_keras
@pytest.mark.parametrize("name", ALPHAS)
def test_a_file_without_the_head_has_no_imagenet_network(
    name: str,
    imagenet_files: dict[str, Path],
    tmp_path: Path,
) -> None:
    from edgecat_export.architectures import find_architecture
    from edgecat_export.networks.classifier import build_classifier, imagenet_network

    whole = build_classifier(name, 2, SIZE, ALPHAS[name], imagenet_files[name])
    base = find_architecture(name).network(SIZE, ALPHAS[name])
    base.set_weights(whole.get_weights()[:-2])
    file = tmp_path / "base.weights.h5"
    base.save_weights(file)
    assert imagenet_network(name, file, SIZE, ALPHAS[name]) is None
    from_base = build_classifier(name, 2, SIZE, ALPHAS[name], file)
    pairs = zip(whole.get_weights()[:-2], from_base.get_weights()[:-2], strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)


# The whole run


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pets/cats and pets/neither, 40 crops each, and 24 plain photos in far/places."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for label, source in (("cats", CHELSEA), ("neither", COFFEE)):
        (folder / "pets" / label).mkdir(parents=True)
        with Image.open(source) as whole:
            for number in range(40):
                left, top = (int(rng.integers(0, side // 3)) for side in whole.size)
                right, bottom = left + whole.width * 2 // 3, top + whole.height * 2 // 3
                crop = whole.crop((left, top, right, bottom)).resize((96, 96))
                crop.save(folder / "pets" / label / f"crops_{number}.jpg")
    (folder / "far" / "places").mkdir(parents=True)
    for number in range(24):
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        Image.new("RGB", (96, 96), colour).save(folder / "far" / "places" / f"{number}.jpg")
    return folder


def asked_of_train(pets: Path, weights: Path, epochs: int) -> list[str]:
    data = [str(pets / "pets"), f"neither={pets / 'far' / 'places'}"]
    small = ["--alpha", "0.25", "--size", str(SIZE), "--batch", "16", "--validation", "0.5"]
    asked = ["--fine-tune", "2", "--scenes", "far/places", "--epochs", str(epochs)]
    return ["train", "mobilenet", *data, "--weights", str(weights), *small, *asked]


@needs_keras
def test_a_killed_run_keeps_distilling_and_is_refined(
    edgecat: Run,
    pets: Path,
    imagenet_files: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = tmp_path / "run"
    asked = asked_of_train(pets, imagenet_files["mobilenet"], epochs=300)
    program = "import edgecat.cli; edgecat.cli.main()"
    command = [sys.executable, "-c", program, *asked, "--out", str(run)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 240
    while not (run / "last.keras").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert (run / "last.keras").exists(), said.decode()
    assert (run / "start.weights.h5").exists()
    record = json.loads((run / "training.json").read_text())
    assert record["training"]["scenes"] == ["far/places"]
    begun = len((run / "history.csv").read_text().splitlines()) - 1
    record["training"]["epochs"] = begun + 2  # do not wait for all 300
    (run / "training.json").write_text(json.dumps(record))

    done = edgecat("train", "--resume", run)
    assert done.returncode == 0, done.stderr
    assert "resuming after epoch" in done.stderr
    assert not list(run.glob("start.weights.h5")) + list(run.glob("last.keras"))
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == list(range(1, begun + 3))

    card = read_card(run / "model.keras")
    assert card.training["distill"] == 1.0
    assert list(card.training["scenes"]) == ["far/places"]
    assert card.training["interpolation"] in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    assert 0.25 <= card.training["temperature"] <= 4
    assert f"temperature {card.training['temperature']:g}" in done.stderr
    origins = card.evaluation["origins"]
    assert {origin: list(labels) for origin, labels in origins.items()} == {
        "crops": ["cat", "neither"],
        "far/places": ["neither"],
    }
    assert [found["photos"] for found in origins["crops"].values()] == [20, 20]
    assert origins["far/places"]["neither"]["photos"] == 12
    means = [np.mean([of["accuracy"] for of in labels.values()]) for labels in origins.values()]
    assert card.evaluation["accuracy"] == pytest.approx(np.mean(means), abs=1e-3)
    shown = edgecat("info", run / "model.keras").stdout
    for origin, labels in origins.items():
        found = [f"{label} {of['accuracy']:.1%} of {of['photos']}" for label, of in labels.items()]
        assert f"{origin}: {', '.join(found)}\n" in shown
        assert re.search(rf"\n{origin} +{', '.join(found)}\n", done.stderr)


@needs_keras
def test_weights_without_the_head_train_without_distillation(
    edgecat: Run,
    pets: Path,
    imagenet_files: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgecat_export.architectures import find_architecture

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = tmp_path / "base.weights.h5"
    find_architecture("mobilenet").network(SIZE, 0.25).save_weights(base)
    done = edgecat(*asked_of_train(pets, base, epochs=1), "--out", "run")
    assert done.returncode == 0, done.stderr
    assert f"{base}: holds no head for the ImageNet classes" in done.stderr
    assert "interpolation" in read_card(tmp_path / "run" / "model.keras").training


@needs_keras
def test_scenes_of_an_unknown_origin(edgecat: Run, pets: Path, tmp_path: Path) -> None:
    data = (pets / "pets", f"neither={pets / 'far' / 'places'}")
    asked = ("--weights", "none", "--scenes", "places", "--out", "run")
    done = edgecat("train", "mobilenet", *data, *asked)
    message = "places: no origin of the photos; expected --scenes with crops, far/places"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"edgecat: {message}\n")
    assert not (tmp_path / "run").exists()
