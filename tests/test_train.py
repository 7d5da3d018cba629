"""`edgecat train` on small real photos: its files, its warnings, and resuming a killed run."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from edgecat_export.architectures import ARCHITECTURES
from edgecat_export.dataset import (
    balanced_order,
    choose_photos,
    find_dataset,
    pixel_batches,
    split,
)
from edgecat_export.training.augmentation import augment
from PIL import Image
from real import CHELSEA, COFFEE, Run

from edgecat import DataError, InputRecipe, ModelError, read_card, read_pixels
from edgecat.card import ModelCard

needs_keras = pytest.mark.skipif(
    importlib.util.find_spec("keras") is None, reason="needs edgecat[export]"
)
SMALL = ("--weights", "none", "--size", 64, "--alpha", 0.25, "--batch", 4, "--validation", 0.2)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders cats/ and neither/ of 12 different crops each."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for label, source in (("cats", CHELSEA), ("neither", COFFEE)):
        (folder / label).mkdir()
        with Image.open(source) as whole:
            for number in range(12):
                left, top = (int(rng.integers(0, side // 4)) for side in whole.size)
                whole.crop(
                    (left, top, left + whole.width * 3 // 4, top + whole.height * 3 // 4)
                ).save(folder / label / f"{number}.jpg")
    return folder


def test_folder_names_become_labels(photos: Path) -> None:
    dataset = find_dataset([str(photos)])
    assert dataset.labels == ("cat", "neither")
    assert dataset.counts() == {"cat": 12, "neither": 12}
    named = find_dataset([f"cup={photos / 'neither'}", f"cat={photos / 'cats'}"], exclude=["3.jpg"])
    assert named.counts() == {"cat": 11, "cup": 11}


def test_the_digest_follows_the_content_not_the_names(photos: Path, tmp_path: Path) -> None:
    for label in ("cats", "neither"):
        (tmp_path / label).mkdir()
        for path in (photos / label).iterdir():
            (tmp_path / label / f"renamed-{path.name}").write_bytes(path.read_bytes())
    before = find_dataset([str(photos)]).digest()
    assert find_dataset([str(tmp_path)]).digest() == before
    (tmp_path / "cats" / "renamed-0.jpg").write_bytes(CHELSEA.read_bytes())
    assert find_dataset([str(tmp_path)]).digest() != before


def test_the_split_is_seeded_and_of_every_class(photos: Path) -> None:
    dataset = find_dataset([str(photos)])
    training, held_back = split(dataset, 0.25, seed=7)
    assert held_back.counts() == {"cat": 3, "neither": 3}
    assert not set(training.photos) & set(held_back.photos)
    assert set(training.photos) | set(held_back.photos) == set(dataset.photos)
    assert split(dataset, 0.25, seed=7) == (training, held_back)
    assert split(dataset, 0.25, seed=8)[1] != held_back


def test_calibration_photos_are_distinct(photos: Path, tmp_path: Path) -> None:
    for label in ("cats", "neither"):
        (tmp_path / label).mkdir()
        for copy in range(5):  # every photo five times
            for path in (photos / label).iterdir():
                (tmp_path / label / f"{copy}-{path.name}").write_bytes(path.read_bytes())
    dataset = find_dataset([str(tmp_path)])
    calibration, verification = choose_photos(dataset, dataset.labels, seed=1)
    contents = [photo.path.read_bytes() for photo in (*calibration.photos, *verification.photos)]
    assert len(contents) == len(set(contents)) == 24
    assert len(calibration.photos) == 12


def test_small_classes_come_more_often(photos: Path) -> None:
    whole = find_dataset([str(photos)])
    uneven = type(whole)(
        tuple(
            photo
            for photo in whole.photos
            if photo.label == "cat" or photo.path.name in ("1.jpg", "2.jpg", "3.jpg")
        ),
        whole.labels,
    )
    order = balanced_order(uneven, np.random.default_rng(0))
    assert np.bincount(uneven.targets()[order]).tolist() == [12, 6]


def test_training_reads_photos_as_the_device_does(photos: Path) -> None:
    recipe = InputRecipe(64, 64)
    paths = sorted((photos / "cats").iterdir())
    batch = np.concatenate(list(pixel_batches(paths, recipe, size=5)))
    assert np.array_equal(batch, [read_pixels(path, recipe) for path in paths])


def test_training_and_the_engine_get_the_same_tensor() -> None:
    from edgecat.engines import TensorSpec
    from edgecat.engines.tensors import input_table

    recipe = InputRecipe(64, 64)
    pixels = read_pixels(CHELSEA, recipe)
    table = input_table(recipe, TensorSpec((1, 64, 64, 3), np.dtype(np.float32)))
    assert table is not None
    assert np.array_equal(recipe.normalise(pixels), table[pixels])


def test_augmentation_is_seeded_and_keeps_the_size() -> None:
    recipe = InputRecipe(48, 64)
    one, again, other = (
        augment(CHELSEA, recipe, np.random.default_rng([1, seed])) for seed in (5, 5, 6)
    )
    assert one.shape == (48, 64, 3)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_augmentation_of_no_strength_mirrors_at_most() -> None:
    recipe = InputRecipe(64, 64)
    plain = read_pixels(CHELSEA, recipe)
    mirrored = 0
    for seed in range(12):
        variant = augment(CHELSEA, recipe, np.random.default_rng(seed), strength=0)
        mirrored += (
            np.abs(variant[:, ::-1].astype(int) - plain).mean()
            < np.abs(variant.astype(int) - plain).mean()
        )
        assert (
            min(np.abs(side.astype(int) - plain).mean() for side in (variant, variant[:, ::-1])) < 2
        )
    assert 0 < mirrored < 12


@needs_keras
def test_mixup_blends_photos_and_their_targets_alike(photos: Path) -> None:
    from edgecat_export.training.batches import AugmentedPhotos
    from edgecat_export.training.options import Options

    training = Options("mobilenet", (str(photos),), None, 0.25, 64, 1, batch=8)
    dataset = find_dataset([str(photos)])
    (inputs, targets), (mixed, blended) = (
        AugmentedPhotos(dataset, training, 1, mixup)[1] for mixup in (0, 0.4)
    )
    assert np.allclose(blended.sum(axis=1), 1)
    row = next(i for i in range(8) if targets[i].argmax() != targets[::-1][i].argmax())
    share = blended[row, targets[row].argmax()]
    assert 0 < share < 1
    assert np.allclose(mixed, share * inputs + (1 - share) * inputs[::-1], atol=1e-5)


@needs_keras
def test_fine_tuning_the_last_blocks_leaves_the_others_alone() -> None:
    from edgecat_export.networks.classifier import build_classifier, freeze_all_but

    for name, blocks, first, last in (
        ("mobilenet_v2", 3, "block_15_expand", "block_14_project"),
        ("mobilenet", 2, "conv_dw_12", "conv_pw_11"),
    ):
        model = build_classifier(name, 3, 64, 0.25 if name == "mobilenet" else 0.35, None)
        freeze_all_but(model, blocks)
        assert model.get_layer(first).trainable
        assert not model.get_layer(last).trainable
        freeze_all_but(model, 0)
        assert [layer.name for layer in model.layers if layer.trainable and layer.weights] == [
            "scores"
        ]
    with pytest.raises(
        ModelError, match="--fine-tune 99: mobilenet has 13 blocks; expected that many at most"
    ):
        freeze_all_but(model, 99)


@needs_keras
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
def test_the_moving_average_is_kept_and_training_goes_on_from_the_last_step(
    photos: Path, tmp_path: Path
) -> None:
    import keras
    from edgecat_export import checkpoint
    from edgecat_export.training.fit import fit
    from edgecat_export.training.learner import Parts
    from edgecat_export.training.options import Options
    from edgecat_export.training.run_folder import RunFolder

    class Silent:
        def say(self, text: str) -> None: ...
        def step(self, phase: str, done: int, total: int) -> None: ...

    options = Options("mobilenet", (str(photos),), None, 0.25, 64, epochs=1, batch=2)
    dataset = find_dataset(options.data)
    training, validation = split(dataset, 0.2, seed=1)
    card = ModelCard("mobilenet", "mobilenet", dataset.labels, options.recipe())
    run = RunFolder(tmp_path)
    fit(run, options, Parts(dataset, training, validation), card, Silent())
    kept, _ = checkpoint.load(run.checkpoint)
    goes_on = keras.models.load_model(run.state)
    state = [variable.numpy() for variable in goes_on.optimizer.variables]
    weights = kept.get_weights()
    largest = max(range(len(weights)), key=lambda place: weights[place].size)
    averaged, last = weights[largest], goes_on.get_weights()[largest]
    assert not np.allclose(averaged, last, rtol=1e-3, atol=1e-5)
    assert any(  # the optimiser's average, but for the rounding to float16
        value.shape == averaged.shape and np.allclose(averaged, value, rtol=1e-3, atol=1e-5)
        for value in state
    )


def test_data_that_cannot_be_trained_on(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "one" / "cats").mkdir(parents=True)
    (tmp_path / "one" / "cats" / "a.jpg").write_bytes(CHELSEA.read_bytes())
    with pytest.raises(
        DataError,
        match="only one class, 'cat'; "
        "expected one folder of photos for each of at least two classes",
    ):
        find_dataset([str(tmp_path / "one")])
    (tmp_path / "one" / "dogs").mkdir()
    with pytest.raises(DataError, match="no photos of class 'dog'"):
        find_dataset([str(tmp_path / "one")])
    with pytest.raises(DataError, match="no class folders; expected"):
        find_dataset([str(photos / "cats")])
    with pytest.raises(DataError, match="no such folder; expected a folder of photos"):
        find_dataset([str(tmp_path / "none")])


def test_a_class_ten_times_larger_is_warned_of(photos: Path) -> None:
    whole = find_dataset([str(photos)])
    uneven = type(whole)(
        tuple(
            photo for photo in whole.photos if photo.label == "cat" or photo.path.name == "1.jpg"
        ),
        whole.labels,
    )
    assert uneven.warnings() == [
        "'cat' has 12 photos, 'neither' only 1: the model will lean to 'cat'; "
        "add photos of 'neither'"
    ]
    assert whole.warnings() == []


@needs_keras
def test_a_run_folder_holds_all_that_the_run_was(
    edgecat: Run, photos: Path, tmp_path: Path
) -> None:
    (photos / "cats" / "broken.jpg").write_text("no photo")
    done = edgecat(
        "train", "mobilenet", photos, *SMALL, "--epochs", 2, "--detail", 0.8, "--out", "run"
    )
    (photos / "cats" / "broken.jpg").unlink()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "run/model.keras\n"
    assert "photos: 13 cat, 12 neither" in done.stderr
    assert "broken.jpg: not a photo" in done.stderr
    assert "next: edgecat export run/model.keras --int8 --data" in done.stderr
    run = tmp_path / "run"
    assert {path.name for path in run.iterdir()} == {
        "model.keras",
        "model-fp32.tflite",
        "evaluation.json",
        "labels.txt",
        "history.csv",
        "curves.png",
        "training.json",
    }
    assert (run / "labels.txt").read_text() == "cat\nneither\n"
    rows = history(run)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {
        "training_loss",
        "validation_loss",
        "accuracy",
        "accuracy_cat",
        "accuracy_neither",
        "seconds",
    } < set(rows[0])
    record = json.loads((run / "training.json").read_text())
    assert record["data"]["photos"] == {"cat": 12, "neither": 12}
    assert len(record["data"]["sha256"]) == 64
    with Image.open(run / "curves.png") as curves:
        assert curves.width >= 600
    card = read_card(run / "model.keras")
    assert card.labels == ("cat", "neither")
    assert card.input == InputRecipe(64, 64, detail=0.8)
    assert card.training["photos"] == {"cat": 12, "neither": 12}
    assert card.calibration["photos"] == 10
    assert card.calibration["ranges"]["pixels"][0] >= -1
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["model"] == "model-fp32.tflite"
    assert {label: found["photos"] for label, found in evaluation["classes"].items()} == record[
        "data"
    ]["validation_photos"]
    best = min(rows, key=lambda row: float(row["validation_loss"]))
    for label, found in evaluation["classes"].items():
        assert found["accuracy"] == pytest.approx(
            float(best[f"accuracy_{label}"]), abs=0.51
        )  # one of the two photos may be close
        assert (
            f"{label:<12}{found['photos']:>6} photos{found['accuracy']:>9.2%} right" in done.stderr
        )
    assert read_card(run / "model-fp32.tflite").verification["agreement"] > 0.95


def history(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "history.csv").read_text().splitlines()))


def start(run: Path, *arguments: object) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-c",
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "import edgecat.cli; edgecat.cli.main()",
        "train",
        *map(str, arguments),
    ]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=dict(os.environ)
    )


@needs_keras
@pytest.mark.parametrize(
    ("kill", "status", "frozen"),
    [(signal.SIGKILL, -signal.SIGKILL, ("--fine-tune", 0)), (signal.SIGINT, 130, ())],
)
def test_a_killed_run_goes_on(
    kill: signal.Signals,
    status: int,
    frozen: tuple[object, ...],
    edgecat: Run,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = tmp_path / "run"
    process = start(run, "mobilenet", photos, *SMALL, *frozen, "--epochs", 300, "--out", run)
    deadline = time.monotonic() + 120
    while not (run / "last.keras").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(kill)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said.decode()
    if kill == signal.SIGINT:
        assert f"interrupted; go on with: edgecat train --resume {run}" in said.decode()
    record = json.loads((run / "training.json").read_text())
    begun = len((run / "history.csv").read_text().splitlines()) - 1
    record["training"]["epochs"] = begun + 2  # do not wait for all 300
    (run / "training.json").write_text(json.dumps(record))
    done = edgecat("train", "--resume", run)
    assert done.returncode == 0, done.stderr
    assert (
        f"resuming after epoch {begun} of {begun + 2}" in done.stderr
        or f"resuming after epoch {begun + 1} of" in done.stderr
    )
    epochs = [int(row["epoch"]) for row in history(run)]
    assert epochs == list(range(1, begun + 3))
    assert read_card(run / "model.keras").calibration["ranges"]
    assert (run / "evaluation.json").exists()


@needs_keras
def test_a_resumed_run_is_the_uninterrupted_one(edgecat: Run, photos: Path, tmp_path: Path) -> None:
    asked = ("mobilenet", photos, *SMALL, "--epochs", 3, "--batch", 4, "--out")
    assert edgecat("train", *asked, tmp_path / "whole").returncode == 0
    run = tmp_path / "run"
    process = start(run, *asked, run)
    deadline = time.monotonic() + 120
    while not (run / "last.keras").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=60)
    assert edgecat("train", "--resume", run).returncode == 0
    for whole, resumed in zip(history(tmp_path / "whole"), history(run), strict=True):
        assert {**whole, "seconds": ""} == {**resumed, "seconds": ""}


@needs_keras
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")
def test_training_runs_on_jax_without_tensorflow(
    edgecat: Run, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys; sys.modules['tensorflow'] = None"
    )  # as if it were not installed
    done = edgecat(
        "train",
        "mobilenet",
        photos,
        *SMALL,
        "--epochs",
        1,
        "--out",
        "run",
        KERAS_BACKEND="jax",
        PYTHONPATH=str(tmp_path),
        JAX_PLATFORMS="cpu",
    )
    assert done.returncode == 0, done.stderr
    assert read_card(tmp_path / "run" / "model.keras").calibration["ranges"]
    later = "then type: edgecat train --resume run"
    assert (
        "not exported and evaluated: exporting needs 'tensorflow'; "
        f"install it with: pip install 'edgecat[export]'; {later}\n"
    ) in done.stderr
    assert not (tmp_path / "run" / "evaluation.json").exists()


@needs_keras
def test_misuse_of_train(edgecat: Run, photos: Path, tmp_path: Path) -> None:
    done = edgecat("train", "mobilnet_v2", photos, "--weights", "none")
    known = f"did you mean 'mobilenet_v2'? Known: {', '.join(ARCHITECTURES)}"
    message = f"edgecat: unknown architecture 'mobilnet_v2'; {known}\n"
    assert (done.returncode, done.stderr) == (1, message)
    assert not (tmp_path / "runs").exists()
    done = edgecat("train", "mobilenet", photos, "--weights", "none.h5")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        "edgecat: none.h5: no such file; expected ImageNet weights as .h5 or .weights.h5",
    )
    (tmp_path / "text.h5").write_text("no weights")
    done = edgecat("train", "mobilenet", photos, "--weights", "text.h5", "--out", "other")
    assert done.returncode == 1
    assert "text.h5: not weights of this architecture" in done.stderr
    done = edgecat("train", "mobilenet", "nowhere", "--weights", "none", "--out", "third")
    assert (done.returncode, done.stderr) == (
        1,
        "edgecat: nowhere: no such folder; expected a folder of photos\n",
    )
    assert not (tmp_path / "third").exists()
    done = edgecat("train", "--resume", "nowhere")
    assert (done.returncode, done.stderr) == (
        1,
        "edgecat: nowhere: no run to resume; expected a folder that 'edgecat train' has written\n",
    )
    assert edgecat("train").returncode == 2


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    code = """
import resource, numpy as np
from edgecat_export.training.memory import keep_freed_memory
faults = []
for told in (False, True):
    if told:
        keep_freed_memory()
        np.ones(8_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(8_000_000)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(*faults)
"""
    given_back, kept = map(
        int,
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split(),
    )
    assert kept < given_back / 10


@needs_keras
def test_without_a_network_the_weights_are_asked_for(
    edgecat: Run, photos: Path, tmp_path: Path
) -> None:
    closed = "http://127.0.0.1:9"  # the discard port, where nothing listens
    nowhere = {"https_proxy": closed, "HTTPS_PROXY": closed, "KERAS_HOME": str(tmp_path / "keras")}
    done = edgecat("train", "mobilenet", photos, "--size", 128, "--out", "run", **nowhere)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "edgecat: no ImageNet weights of mobilenet with alpha 0.5 and size 128: "
    )
    assert last.endswith("; give a file with --weights FILE")
