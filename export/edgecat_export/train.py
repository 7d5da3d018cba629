"""Training: class folders -> a run folder with a checkpoint that describes itself."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import keras
import numpy as np
import numpy.typing as npt

from edgecat.card import InputRecipe, ModelCard
from edgecat.classifier import Classifier
from edgecat.errors import DataError, ExportError, ModelError
from edgecat.formats import read_card
from edgecat.measure.accuracy import LabelledPhoto, evaluate
from edgecat.report.plots import draw_history
from edgecat_export import checkpoint
from edgecat_export.architectures import (
    build_classifier,
    find_architecture,
    freeze_all_but,
    imagenet_network,
)
from edgecat_export.augmentation import augment
from edgecat_export.calibrate import observe, statistics
from edgecat_export.child import NotInstalledError, Said, in_child
from edgecat_export.dataset import (
    Dataset,
    balanced_order,
    check_photos,
    choose_photos,
    find_dataset,
    normalise,
    part_of,
    pixel_batches,
    repeats,
    split,
)
from edgecat_export.distillation import DRIFT, with_drift
from edgecat_export.features import Base, Features
from edgecat_export.fold import fold_batch_normalization
from edgecat_export.known_classes import KNOWN, groups_of, imagenet_head, with_known_classes
from edgecat_export.memory import keep_freed_memory
from edgecat_export.pipeline import export
from edgecat_export.refine import (
    apply_temperature,
    calibrated_loss,
    find_temperature,
    interpolate,
    weights_of_origins,
)

HEAD_EPOCHS = 40  # before fine-tuning, on features that were computed once: seconds
LABEL_SMOOTHING = 0.05  # some labels are wrong
AVERAGED = 0.5  # epochs: the reach of the moving average of the weights
LICENCE = "Apache-2.0"
NOT_THE_SAME = (
    0.01  # so much less accuracy of a file than of the checkpoint it was made of is worth a warning
)

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Training:
    """What a run is asked to do; written to the run folder, and read back to resume it."""

    architecture: str
    data: tuple[str, ...]
    weights: str | None  # "imagenet", a file, or None
    alpha: float | None  # None where the architecture has one width
    size: int  # pixels
    epochs: int
    batch: int = 32
    learning_rate: float = 3e-4
    fine_tune: int | None = (
        None  # the last blocks that are trained after the head; 0: the head alone; None: all layers
    )
    mixup: float = 0.2
    augment: float = 1.0  # strength of the photos' random changes
    validation: float = 0.05  # share of each class
    seed: int = 1
    exclude: tuple[str, ...] = ()
    detail: float = 1.0  # share of the size that a JPEG has to be decoded at, at least
    distill: float = 1.0  # weight of the loss that keeps the ImageNet classes; 0: none
    scenes: tuple[str, ...] = ()  # origins whose photos others are pasted into

    def recipe(self) -> InputRecipe:
        return dataclasses.replace(
            find_architecture(self.architecture).recipe(self.size), detail=self.detail
        )


class Progress(Protocol):
    """How a run tells what it does; the command line shows it."""

    def say(self, text: str) -> None: ...
    def step(self, phase: str, done: int, total: int) -> None: ...


@dataclass
class Run:
    """A run folder.

    model.keras         the best checkpoint: labels, input recipe and origin inside
    model-fp32.tflite   the same as a device runs it, verified
    evaluation.json     what this file answered on the photos held back
    labels.txt          one label a line
    history.csv         one row an epoch: losses, accuracy of each class, seconds
    curves.png          the same, drawn
    training.json       what was asked, the photos per class and their digest
    last.keras          where --resume goes on
    """

    START: ClassVar[str] = "start.weights.h5"  # before fine-tuning; removed in the end

    folder: Path
    history: list[dict[str, float]] = field(default_factory=list)
    base: str = ""  # digest of the frozen network whose features are learnt from, which last.keras leaves out

    def write(self, name: str, content: str | bytes) -> None:
        """Whole or not at all."""
        temporary = self.folder / f".{name}.part"
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, self.folder / name)

    def save_state(self, model: keras.Model) -> None:
        """All that --resume needs in one file, which a kill cannot tear apart: weights, optimiser, and the epochs they have behind them."""
        temporary = self.folder / ".part.last.keras"
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr("history.json", json.dumps(self.history))
            archive.writestr("base.txt", self.base)
        os.replace(temporary, self.folder / "last.keras")

    def read_history(self) -> None:
        if (self.folder / "last.keras").exists():
            with zipfile.ZipFile(self.folder / "last.keras") as archive:
                self.history, self.base = (
                    json.loads(archive.read("history.json")),
                    archive.read("base.txt").decode(),
                )
        elif (self.folder / "history.csv").exists():  # complete: last.keras is gone
            with (self.folder / "history.csv").open(newline="") as file:
                self.history = [
                    {key: float(value) for key, value in row.items()}
                    for row in csv.DictReader(file)
                ]


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of one epoch: what is learnt from, (batch, ...) float32, and (batch, classes) float32.

    Every variant follows from seed, epoch and place alone, so a resumed run sees what an
    uninterrupted one would have seen. `mixup` blends each input, and its target, with another of the
    batch by a share drawn from Beta(mixup, mixup) (Zhang et al. 2018, arXiv 1710.09412); 0: not at all.
    """

    def __init__(self, dataset: Dataset, training: Training, epoch: int, mixup: float) -> None:
        super().__init__(workers=os.cpu_count() or 1, max_queue_size=8)
        self.dataset, self.training, self.epoch, self.mixup = dataset, training, epoch, mixup
        self.order = balanced_order(dataset, np.random.default_rng([training.seed, epoch]))
        self.targets = np.eye(len(dataset.labels), dtype=np.float32)[dataset.targets()]

    def inputs(self, places: range) -> Array:
        """For these places in the epoch's order."""
        raise NotImplementedError

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.training.batch)

    def __getitem__(self, index: int) -> tuple[Array, Any]:
        places = range(
            index * self.training.batch, min((index + 1) * self.training.batch, len(self.order))
        )
        inputs, targets = self.inputs(places), self.targets[self.order[places.start : places.stop]]
        if self.mixup:
            share = np.float32(
                np.random.default_rng(
                    [self.training.seed, self.epoch, len(self.order) + index]
                ).beta(self.mixup, self.mixup)
            )
            inputs, targets = (
                share * inputs + (1 - share) * inputs[::-1],
                share * targets + (1 - share) * targets[::-1],
            )
        return inputs, targets


class AugmentedPhotos(Batches):
    """Photos, each a random variant; (batch, size, size, 3)."""

    def __init__(self, dataset: Dataset, training: Training, epoch: int, mixup: float) -> None:
        super().__init__(dataset, training, epoch, mixup)
        self.scenes = [photo.path for photo in dataset.photos if photo.origin in training.scenes]

    def inputs(self, places: range) -> Array:
        recipe = self.training.recipe()
        strength, seeds = (
            self.training.augment,
            ([self.training.seed, self.epoch, place] for place in places),
        )
        photos = (self.dataset.photos[self.order[place]].path for place in places)
        pixels = [
            augment(photo, recipe, np.random.default_rng(seed), strength, self.scenes)
            for photo, seed in zip(photos, seeds, strict=True)
        ]
        return normalise(np.stack(pixels), recipe)


class PhotosAndDrift(AugmentedPhotos):
    """The same for a model with a second output, which is to be 0."""

    def __getitem__(self, index: int) -> tuple[Array, dict[str, Array]]:
        inputs, targets = super().__getitem__(index)
        return inputs, {"scores": targets, DRIFT: np.zeros((len(targets), 1), np.float32)}


class FeaturesOfPhotos(Batches):
    """What the frozen base made of photos, each as it is or mirrored; (batch, channels)."""

    def __init__(
        self, variants: npt.NDArray[np.float32], dataset: Dataset, training: Training, epoch: int
    ) -> None:
        """`variants` are features of the dataset's photos in their order, (variants, photos, channels)."""
        super().__init__(dataset, training, epoch, training.mixup)
        self.variants = variants

    def inputs(self, places: range) -> Array:
        chosen = np.random.default_rng([self.training.seed, self.epoch, places.start]).integers(
            len(self.variants), size=len(places)
        )
        features: Array = self.variants[chosen, self.order[places.start : places.stop]]
        return features


class _KeepWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """The weights as the last step left them: after it, `fit` replaces them by their moving average."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.weights = [np.array(value) for value in self.model.get_weights()]


class _ShowSteps(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, progress: Progress, phase: str, steps: int) -> None:
        super().__init__()
        self.progress, self.phase, self.steps = progress, phase, steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.progress.step(self.phase, batch + 1, self.steps)

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self.progress.step(self.phase, batch + 1, self.steps)


def start(folder: Path, training: Training, progress: Progress) -> Path:
    """Train from the beginning; returns the checkpoint's path. Raises EdgecatError."""
    from_imagenet = training.weights is not None and not _is_checkpoint(training.weights)
    find_architecture(training.architecture, imagenet=from_imagenet)
    # Wrong folders and scenes are reported before anything is written.
    photos = find_dataset(training.data, training.exclude).photos
    origins = sorted({photo.origin for photo in photos})
    for scene in training.scenes:
        if scene not in origins:
            known = ", ".join(origins)
            raise DataError(f"{scene}: no origin of the photos; expected --scenes with {known}")
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(folder)
    run.write("training.json", json.dumps({"training": dataclasses.asdict(training)}, indent=1))
    return _train(run, training, progress)


def resume(folder: Path, progress: Progress) -> Path:
    """Go on where a run was interrupted or killed: at the beginning of the epoch it was in."""
    asked = read_training(folder)
    run = Run(folder)
    run.read_history()
    return _train(run, asked, progress)


def read_training(folder: Path) -> Training:
    """What the run in `folder` was asked to do. Raises DataError."""
    try:
        record = json.loads((folder / "training.json").read_text())["training"]
    except (OSError, ValueError, KeyError):
        raise DataError(
            f"{folder}: no run to resume; expected a folder that 'edgecat train' has written"
        ) from None
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in record.items()
    }
    return Training(**fields)


def _train(run: Run, training: Training, progress: Progress) -> Path:
    keep_freed_memory()
    recipe = training.recipe()
    dataset = find_dataset(training.data, training.exclude)
    progress.say(
        "photos: " + ", ".join(f"{count} {label}" for label, count in dataset.counts().items())
    )
    for warning in dataset.warnings():
        progress.say(f"warning: {warning}")
    dataset = check_photos(dataset, recipe, progress.say)
    fitted, held_back = split(dataset, training.validation, training.seed)
    data_record = {
        "photos": dataset.counts(),
        "validation_photos": held_back.counts(),
        "sha256": dataset.digest(),
    }
    run.write(
        "training.json",
        json.dumps({"training": dataclasses.asdict(training), "data": data_record}, indent=1),
    )
    run.write("labels.txt", "".join(f"{label}\n" for label in dataset.labels))
    record = {**data_record, "weights": Path(training.weights).name if training.weights else None}
    asked = "alpha epochs batch learning_rate fine_tune mixup augment distill scenes seed exclude"
    record |= {key: getattr(training, key) for key in asked.split()}
    if training.weights and Path(training.weights).suffix == ".keras":
        record["started_from"] = read_card(Path(training.weights)).training
    card = ModelCard(
        training.architecture,
        training.architecture,
        dataset.labels,
        recipe,
        training=record,
        licence=LICENCE,
    )

    if len(run.history) >= training.epochs:
        progress.say("all epochs are done")
    else:
        _fit(run, training, _Parts(dataset, fitted, held_back), card, progress)
    _refine(run, training, held_back, progress)
    _calibrate(run.folder / "model.keras", fitted, training.seed, progress)
    (run.folder / "last.keras").unlink(
        missing_ok=True
    )  # six times the checkpoint's size, and of no more use
    _evaluate_as_on_a_device(run, training, held_back, progress)
    return run.folder / "model.keras"


class _Parts(NamedTuple):
    all: Dataset
    fitted: Dataset
    held_back: Dataset


class _OnPhotos:
    """The network learns, all of it or its last blocks.

    `learner` is what is trained: the checkpoint's `model`, or that with a second output.
    """

    def __init__(self, run: Run, training: Training, parts: _Parts, progress: Progress) -> None:
        self.training, self.dataset = training, parts.fitted
        paths = [photo.path for photo in parts.held_back.photos]
        self.validation = np.concatenate(list(pixel_batches(paths, training.recipe())))
        if run.history:
            self.learner = keras.models.load_model(run.folder / "last.keras")
            outputs = self.learner.output
            scores = outputs["scores"] if isinstance(outputs, dict) else outputs
            self.model = keras.Model(self.learner.input, scores, name=training.architecture)
            return
        self.learner = self.model = _build(training, parts.all.labels)
        from_imagenet = training.weights is not None and not _is_checkpoint(training.weights)
        if from_imagenet:
            _fit_head(self.model, parts, training, progress)
            self.model.save_weights(run.folder / Run.START)
        if training.fine_tune is not None:
            freeze_all_but(self.model, training.fine_tune)
        if training.distill and from_imagenet:
            original = _original(training)
            if original is None:
                progress.say(
                    f"{training.weights}: holds no head for the ImageNet classes, so what it knows of them is not kept; expected the file of the whole network"
                )
            else:
                self.learner = with_drift(self.model, original)

    def batches(self, epoch: int) -> Batches:
        kind = PhotosAndDrift if len(self.learner.outputs) > 1 else AugmentedPhotos
        return kind(self.dataset, self.training, epoch, self.training.mixup)

    def answer(self) -> Array:
        """Return the scores of the validation part, (photos, labels)."""
        recipe, some = self.training.recipe(), range(0, len(self.validation), 64)
        batches = (normalise(self.validation[i : i + 64], recipe) for i in some)
        return np.concatenate([self.model.predict_on_batch(batch) for batch in batches])


class _OnFeatures:
    """The base is frozen: `learner` is the head alone, on features that are computed once."""

    def __init__(self, run: Run, training: Training, parts: _Parts, progress: Progress) -> None:
        self.training, self.dataset = training, parts.fitted
        self.whole = _build(training, parts.all.labels)
        base = _base(self.whole, training)
        if run.history and run.base != base.digest:
            raise ModelError(
                f"{run.folder}: began with other weights than --weights {training.weights} gives now; start anew with another --out"
            )
        run.base = base.digest
        self.learner = (
            keras.models.load_model(run.folder / "last.keras") if run.history else _head(self.whole)
        )
        place = {photo: number for number, photo in enumerate(parts.all.photos)}
        fitted, held_back = (
            [place[photo] for photo in part.photos] for part in (parts.fitted, parts.held_back)
        )
        plain, mirrored = (
            _features(base, parts.all, mirrored, progress) for mirrored in (False, True)
        )
        self.variants, self.validation = (
            np.stack([plain[fitted], mirrored[fitted]]),
            plain[held_back],
        )

    def batches(self, epoch: int) -> Batches:
        return FeaturesOfPhotos(self.variants, self.dataset, self.training, epoch)

    def answer(self) -> Array:
        scores: Array = self.learner.predict_on_batch(self.validation)
        return scores

    @property
    def model(self) -> keras.Model:
        self.whole.get_layer("scores").set_weights(self.learner.get_layer("scores").get_weights())
        return self.whole


def _fit(run: Run, training: Training, parts: _Parts, card: ModelCard, progress: Progress) -> None:
    """All epochs that are left."""
    if run.history:
        progress.say(f"resuming after epoch {len(run.history)} of {training.epochs}")
    lesson = (_OnFeatures if training.fine_tune == 0 else _OnPhotos)(run, training, parts, progress)
    learner, steps = lesson.learner, len(lesson.batches(0))
    if not run.history:
        _compile(learner, training, steps)
    while len(run.history) < training.epochs:
        epoch = len(run.history)
        began = time.monotonic()
        show = _ShowSteps(progress, f"epoch {epoch + 1}/{training.epochs}", steps)
        keep = _KeepWeights()
        fit = learner.fit(
            lesson.batches(epoch + 1), shuffle=False, verbose=0, callbacks=[show, keep]
        )
        learner.set_weights(
            [np.array(value) for value in learner.get_weights()]
        )  # on JAX, the averages still share their memory with the optimiser's
        undo_repeats(learner, parts.fitted)
        row = {
            "epoch": epoch + 1,
            "training_loss": float(fit.history["loss"][0]),
            **_judge(lesson.answer(), parts.held_back),
        }
        row["seconds"] = round(time.monotonic() - began, 1)
        if not math.isfinite(row["training_loss"]):
            raise ModelError(
                f"training diverged in epoch {epoch + 1}; start again with a smaller --learning-rate"
            )
        best = min((past["validation_loss"] for past in run.history), default=math.inf)
        run.history.append(row)
        if row["validation_loss"] < best:
            made = dataclasses.replace(
                card, evaluation={"data": "validation part of the training photos", **row}
            )
            checkpoint.save(lesson.model, made, run.folder / "model.keras")
        _write_history(run)
        learner.set_weights(keep.weights)
        run.save_state(learner)
        progress.say("  ".join(f"{key} {value:.4g}" for key, value in row.items()))


def _build(training: Training, labels: tuple[str, ...]) -> keras.Model:
    """As it is before any training: the same for the same seed and weights."""
    keras.utils.set_random_seed(training.seed)
    model = build_classifier(
        training.architecture, len(labels), training.size, training.alpha, training.weights
    )
    if training.weights is not None and _is_checkpoint(training.weights):
        return _started_from(Path(training.weights), model, labels)
    original = _original(training)
    if original is not None and groups_of(labels) is not None:
        model = with_known_classes(model, labels, *imagenet_head(original))
    return model


def _original(training: Training) -> keras.Model | None:
    """Return the network with its head for ImageNet's classes, where it is known and is to stay."""
    if not training.distill or training.weights is None or _is_checkpoint(training.weights):
        return None
    return imagenet_network(training.architecture, training.weights, training.size, training.alpha)


def _is_checkpoint(weights: str) -> bool:
    return Path(weights).suffix == ".keras"


def _compile(learner: keras.Model, training: Training, steps: int) -> None:
    """For `training.epochs` of `steps` batches each."""
    total = training.epochs * steps
    warmup = max(1, min(200, total // 5))
    schedule = keras.optimizers.schedules.CosineDecay(
        training.learning_rate / 20,
        max(1, total - warmup),
        alpha=0.01,
        warmup_target=training.learning_rate,
        warmup_steps=warmup,
    )
    # What is validated and kept is the moving average of the weights over about the last half of an epoch: less noise, a flatter minimum.
    optimizer = keras.optimizers.Adam(
        schedule, clipnorm=1.0, use_ema=True, ema_momentum=1 - 1 / max(1.0, AVERAGED * steps)
    )
    classes = keras.losses.CategoricalCrossentropy(label_smoothing=LABEL_SMOOTHING)
    if len(learner.outputs) > 1:
        learner.compile(
            optimizer,
            {"scores": classes, DRIFT: "mean_absolute_error"},  # from 0, and it is never below
            loss_weights={"scores": 1.0, DRIFT: training.distill},
            jit_compile=_jit(),
        )
    else:
        learner.compile(optimizer, classes, jit_compile=_jit())


def undo_repeats(model: keras.Model, dataset: Dataset) -> None:
    """Make the scores probabilities among the photos, not among their repetitions in an epoch.

    Saerens et al. 2002, equation 2.4. Where photos come from several origins, the repetitions are
    kept: how many photos each origin has says nothing of what the model will see.
    """
    if len({photo.origin for photo in dataset.photos}) > 1:
        return
    times, counts = repeats(dataset), dataset.counts()
    shown = Counter(dict.fromkeys(dataset.labels, 0))
    for photo in dataset.photos:
        shown[photo.label] += times[part_of(photo)]
    kernel, bias = model.get_layer("scores").get_weights()
    shift = np.log([shown[label] / counts[label] for label in dataset.labels])
    model.get_layer("scores").set_weights([kernel, bias - shift.astype(bias.dtype)])


def _started_from(path: Path, model: keras.Model, labels: tuple[str, ...]) -> keras.Model:
    """Return `model` with the weights of a checkpoint, its head too.

    The checkpoint may have been trained with a smaller input. Raises ModelError.
    """
    trained, card = checkpoint.load(path)
    if (card.architecture, card.labels) != (model.name, labels):
        raise ModelError(
            f"{path}: {card.architecture} for {', '.join(card.labels)}; expected {model.name} for {', '.join(labels)}"
        )
    if any(layer.name == KNOWN for layer in trained.layers):
        channels = model.get_layer("dropout").input.shape[-1]
        model = with_known_classes(model, labels, np.zeros((channels, 1000)), np.zeros(1000))
    try:
        model.set_weights(trained.get_weights())
    except ValueError:
        raise ModelError(
            f"{path}: of another width; expected --alpha {card.training.get('alpha')}"
        ) from None
    return model


def _calibrate(path: Path, dataset: Dataset, seed: int, progress: Progress) -> None:
    """Measure the statistics that int8 needs and put them into the checkpoint, so that it can be exported without photos."""
    progress.say("calibrating")
    model, card = checkpoint.load(path)
    photos, _ = choose_photos(dataset, card.labels, seed)
    batches = (
        normalise(batch, card.input)
        for batch in pixel_batches([photo.path for photo in photos.photos], card.input)
    )
    folded = fold_batch_normalization(model)
    found = statistics(folded, observe(folded, batches), card.input)
    record = {
        "photos": len(photos.photos),
        "sha256": photos.digest(),
        "seed": seed,
        **found._asdict(),
    }
    checkpoint.save(model, dataclasses.replace(card, calibration=record), path)


def _jit() -> bool | str:
    # XLA makes depthwise convolutions on a CPU fifteen times slower under TensorFlow (measured); JAX has nothing else.
    return False if keras.backend.backend() == "tensorflow" else "auto"


def _base(model: keras.Model, training: Training) -> Base:
    return Base(keras.Model(model.input, model.get_layer("dropout").input), training.recipe())


def _head(model: keras.Model) -> keras.Model:
    """The last layers of `model`, the very same, on features."""
    return keras.Model(model.get_layer("dropout").input, model.output)


def _features(base: Base, dataset: Dataset, mirrored: bool, progress: Progress) -> Features:
    """Of the whole dataset, so that another split or seed finds them again."""
    phase = "features of mirrored photos" if mirrored else "features of photos"
    return base.features(
        [photo.path for photo in dataset.photos],
        mirrored,
        lambda done: progress.step(phase, done, len(dataset.photos)),
    )


def _fit_head(model: keras.Model, parts: _Parts, training: Training, progress: Progress) -> None:
    """Train the last layer alone, so that fine-tuning does not start by tearing the rest."""
    features = dict(
        zip(
            parts.all.photos,
            _features(_base(model, training), parts.all, False, progress),
            strict=True,
        )
    )
    fitted = parts.fitted
    order = balanced_order(fitted, np.random.default_rng([training.seed, 0]))
    targets = np.eye(len(fitted.labels), dtype=np.float32)[fitted.targets()]
    head = _head(model)
    head.compile(
        keras.optimizers.Adam(3e-3),
        keras.losses.CategoricalCrossentropy(label_smoothing=LABEL_SMOOTHING),
        jit_compile=_jit(),
    )
    head.fit(
        np.stack([features[fitted.photos[i]] for i in order]),
        targets[order],
        batch_size=256,
        epochs=HEAD_EPOCHS,
        verbose=0,
    )


def _judge(scores: Array, dataset: Dataset) -> dict[str, float]:
    """Return loss and accuracy on upright, unaugmented photos, and the accuracy of each class.

    In the first two, every origin counts the same. The loss is that of the scores once they are
    calibrated: how sure the network is while it trains, with mixed photos, is beside the point.
    """
    targets, weights = dataset.targets(), weights_of_origins(dataset.photos)
    right = scores.argmax(axis=1) == targets
    row = {
        "validation_loss": calibrated_loss(scores, targets, weights),
        "accuracy": float(weights @ right),
    }
    for index, label in enumerate(dataset.labels):
        row[f"accuracy_{label}"] = float(right[targets == index].mean())
    return row


def _by_origin(scores: Array, dataset: Dataset) -> dict[str, dict[str, dict[str, float]]]:
    """Return origin -> label -> photos and accuracy."""
    right = scores.argmax(axis=1) == dataset.targets()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for label, origin in sorted({part_of(photo) for photo in dataset.photos}):
        members = np.array([part_of(photo) == (label, origin) for photo in dataset.photos])
        entry = {"photos": int(members.sum()), "accuracy": round(float(right[members].mean()), 4)}
        found.setdefault(origin, {})[label] = entry
    return found


def _refine(run: Run, training: Training, held_back: Dataset, progress: Progress) -> None:
    """Interpolate the best checkpoint with its start, calibrate its scores, and write it again."""
    path = run.folder / "model.keras"
    model, card = checkpoint.load(path)
    if "temperature" in card.training:
        return  # done before the run was interrupted
    recipe, paths = card.input, [photo.path for photo in held_back.photos]
    pixels = np.concatenate(list(pixel_batches(paths, recipe)))

    def answer() -> Array:
        batches = (normalise(pixels[i : i + 64], recipe) for i in range(0, len(pixels), 64))
        return np.concatenate([model.predict_on_batch(batch) for batch in batches])

    targets, weights = held_back.targets(), weights_of_origins(held_back.photos)
    record = dict(card.training)
    start = run.folder / Run.START
    if start.exists():
        tuned = model.get_weights()
        model.load_weights(start)
        before = model.get_weights()
        model.set_weights(tuned)
        progress.say("interpolating with the weights before fine-tuning")
        record["interpolation"] = interpolate(model, before, answer, targets, weights)
    record["temperature"] = find_temperature(answer(), targets, weights)
    apply_temperature(model, record["temperature"])
    scores = answer()
    evaluation = {**card.evaluation, **_judge(scores, held_back)}
    evaluation["origins"] = _by_origin(scores, held_back)
    checkpoint.save(model, dataclasses.replace(card, training=record, evaluation=evaluation), path)
    start.unlink(missing_ok=True)
    for key in ("interpolation", "temperature"):
        if key in record:
            progress.say(f"{key} {record[key]:g}")
    for origin, labels in evaluation["origins"].items():
        found = ", ".join(
            f"{label} {entry['accuracy']:.1%} of {entry['photos']}"
            for label, entry in labels.items()
        )
        progress.say(f"{origin:<20} {found}")


def _evaluate_as_on_a_device(
    run: Run, training: Training, held_back: Dataset, progress: Progress
) -> None:
    """Export the checkpoint, and let the file, in edgecat's runtime, answer the photos held back: the last word is not Keras's. Raises ExportError."""
    progress.say("exporting and evaluating")
    try:
        [exported] = export(
            run.folder / "model.keras", run.folder, ["fp32"], ["tflite"], name="model"
        )
    except NotInstalledError as error:
        progress.say(
            f"not exported and evaluated: {error}; then type: edgecat train --resume {run.folder}"
        )
        return
    if exported.path is None:
        raise ExportError(f"{exported.name}: not written: {'; '.join(exported.built.shortfalls)}")
    with tempfile.TemporaryDirectory() as temporary:
        record = in_child(
            _answers, exported.path, held_back.photos, folder=Path(temporary), say=progress.say
        )
    source = {
        "data": [Path(folder).name for folder in training.data],
        "part": "held back",
        "command": f"edgecat train --resume {run.folder.name}",
    }
    run.write("evaluation.json", json.dumps({**record, **source}, indent=1, ensure_ascii=False))
    progress.say(f"{exported.name} on the photos held back:")
    for label, found in record["classes"].items():
        answers = ", ".join(f"{count} as {answer}" for answer, count in found["answers"].items())
        progress.say(
            f"{label:<12}{found['photos']:>6} photos{found['accuracy']:>9.2%} right   {answers}"
        )
    of_keras = read_card(run.folder / "model.keras").evaluation
    worse = [
        label
        for label, found in record["classes"].items()
        if found["accuracy"] < of_keras[f"accuracy_{label}"] - NOT_THE_SAME
    ]
    if worse:
        progress.say(
            f"warning: Keras was right on more photos of {', '.join(worse)}; see accuracy_{worse[0]} in history.csv, and export with --data"
        )


def _answers(model: Path, photos: Sequence[LabelledPhoto], said: Said) -> dict[str, Any]:
    """In a child, where the engine may print what it likes."""
    with Classifier(model) as classifier:
        return evaluate(classifier, photos).record()


def _write_history(run: Run) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, run.history[0])
    writer.writeheader()
    writer.writerows(run.history)
    run.write("history.csv", text.getvalue())
    draw_curves(run)


def draw_curves(run: Run) -> None:
    """curves.png: losses, and the accuracy of each class, over the epochs."""
    image = io.BytesIO()
    draw_history(run.history, 2).savefig(image, format="png", dpi=100)
    run.write("curves.png", image.getvalue())
