"""Training: class folders -> a run folder with a checkpoint that describes itself."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from edgecat.errors import DataError, ModelError
from edgecat.model_file import ModelCard, read_card
from edgecat.photo import InputRecipe
from edgecat_export import checkpoint
from edgecat_export.architectures import build_classifier, find_architecture, freeze_all_but
from edgecat_export.calibrate import observe, statistics
from edgecat_export.dataset import Dataset, augment, balanced_order, check_photos, choose_photos, find_dataset, normalise, pixel_batches, repeats, split
from edgecat_export.fold import fold_batch_normalization

HEAD_EPOCHS = 40  # on features that were computed once: seconds
LABEL_SMOOTHING = 0.05  # some labels are wrong
AVERAGED = 0.5  # epochs: the reach of the moving average of the weights
LICENCE = "Apache-2.0"


@dataclass(frozen=True)
class Training:
    """What a run is asked to do; written to the run folder, and read back to resume it."""

    architecture: str
    data: tuple[str, ...]
    weights: str | None  # "imagenet", a file, or None
    alpha: float
    size: int  # pixels
    epochs: int
    batch: int = 32
    learning_rate: float = 3e-4
    fine_tune: int | None = None  # the last blocks that are trained after the head; None: all layers
    mixup: float = 0.2
    validation: float = 0.05  # share of each class
    seed: int = 1
    exclude: tuple[str, ...] = ()

    def recipe(self) -> InputRecipe:
        return InputRecipe(self.size, self.size)


class Progress(Protocol):
    """How a run tells what it does; the command line shows it."""

    def say(self, text: str) -> None: ...
    def step(self, phase: str, done: int, total: int) -> None: ...


@dataclass
class Run:
    """A run folder.

    model.keras     the best checkpoint: labels, input recipe and origin inside
    labels.txt      one label a line
    history.csv     one row an epoch: losses, accuracy of each class, seconds
    curves.png      the same, drawn
    training.json   what was asked, the photos per class and their digest
    last.keras      where --resume goes on
    """

    folder: Path
    history: list[dict[str, float]] = field(default_factory=list)

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
        os.replace(temporary, self.folder / "last.keras")

    def read_history(self) -> None:
        if (self.folder / "last.keras").exists():
            with zipfile.ZipFile(self.folder / "last.keras") as archive:
                self.history = json.loads(archive.read("history.json"))
        elif (self.folder / "history.csv").exists():  # complete: last.keras is gone
            with (self.folder / "history.csv").open(newline="") as file:
                self.history = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


class AugmentedPhotos(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of one epoch: ((batch, size, size, 3) float32, (batch, classes) float32).

    Every photo's variant follows from seed, epoch and place alone, so a resumed run sees what an
    uninterrupted one would have seen. `mixup` blends each photo, and its target, with another of the
    batch by a share drawn from Beta(mixup, mixup) (Zhang et al. 2018, arXiv 1710.09412); 0: not at all.
    """

    def __init__(self, dataset: Dataset, training: Training, epoch: int, mixup: float) -> None:
        super().__init__(workers=os.cpu_count() or 1, max_queue_size=8)
        self.dataset, self.training, self.epoch, self.mixup = dataset, training, epoch, mixup
        self.order = balanced_order(dataset, np.random.default_rng([training.seed, epoch]))
        self.targets = np.eye(len(dataset.labels), dtype=np.float32)[dataset.targets()]

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.training.batch)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        places = range(index * self.training.batch, min((index + 1) * self.training.batch, len(self.order)))
        recipe = self.training.recipe()
        pixels = [
            augment(self.dataset.photos[self.order[place]].path, recipe, np.random.default_rng([self.training.seed, self.epoch, place])) for place in places
        ]
        inputs, targets = normalise(np.stack(pixels), recipe), self.targets[self.order[places.start : places.stop]]
        if self.mixup:
            share = np.float32(np.random.default_rng([self.training.seed, self.epoch, len(self.order) + index]).beta(self.mixup, self.mixup))
            inputs, targets = share * inputs + (1 - share) * inputs[::-1], share * targets + (1 - share) * targets[::-1]
        return inputs, targets


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
    find_architecture(training.architecture)
    find_dataset(training.data, training.exclude)  # a wrong folder is said before anything is written
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
        raise DataError(f"{folder}: no run to resume; expected a folder that 'edgecat train' has written") from None
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    return Training(**fields)


def _train(run: Run, training: Training, progress: Progress) -> Path:
    recipe = training.recipe()
    dataset = find_dataset(training.data, training.exclude)
    progress.say("photos: " + ", ".join(f"{count} {label}" for label, count in dataset.counts().items()))
    for warning in dataset.warnings():
        progress.say(f"warning: {warning}")
    dataset = check_photos(dataset, recipe, progress.say)
    fitted, held_back = split(dataset, training.validation, training.seed)
    data_record = {"photos": dataset.counts(), "validation_photos": held_back.counts(), "sha256": dataset.digest()}
    run.write("training.json", json.dumps({"training": dataclasses.asdict(training), "data": data_record}, indent=1))
    run.write("labels.txt", "".join(f"{label}\n" for label in dataset.labels))
    record = {**data_record, "weights": Path(training.weights).name if training.weights else None}
    record |= {key: getattr(training, key) for key in ("alpha", "epochs", "batch", "learning_rate", "fine_tune", "mixup", "seed", "exclude")}
    if training.weights and Path(training.weights).suffix == ".keras":
        record["started_from"] = read_card(Path(training.weights)).training
    card = ModelCard(training.architecture, training.architecture, dataset.labels, recipe, training=record, licence=LICENCE)

    validation = np.concatenate(list(pixel_batches([photo.path for photo in held_back.photos], recipe)))
    steps = len(AugmentedPhotos(fitted, training, 0, mixup=0))
    if len(run.history) >= training.epochs:
        progress.say("all epochs are done")
    elif run.history:
        progress.say(f"resuming after epoch {len(run.history)} of {training.epochs}")
        model = keras.models.load_model(run.folder / "last.keras")
    else:
        model = _new_model(training, fitted, steps, progress)
    while len(run.history) < training.epochs:
        epoch = len(run.history)
        began = time.monotonic()
        show = _ShowSteps(progress, f"epoch {epoch + 1}/{training.epochs}", steps)
        keep = _KeepWeights()
        fit = model.fit(AugmentedPhotos(fitted, training, epoch + 1, training.mixup), shuffle=False, verbose=0, callbacks=[show, keep])
        model.set_weights([np.array(value) for value in model.get_weights()])  # on JAX, the averages still share their memory with the optimiser's
        undo_repeats(model, fitted)
        row = {"epoch": epoch + 1, "training_loss": float(fit.history["loss"][0]), **_validate(model, validation, held_back, recipe)}
        row["seconds"] = round(time.monotonic() - began, 1)
        if not math.isfinite(row["training_loss"]):
            raise ModelError(f"training diverged in epoch {epoch + 1}; start again with a smaller --learning-rate")
        best = min((past["validation_loss"] for past in run.history), default=math.inf)
        run.history.append(row)
        if row["validation_loss"] < best:
            checkpoint.save(model, dataclasses.replace(card, evaluation={"data": "validation part of the training photos", **row}), run.folder / "model.keras")
        _write_history(run)
        model.set_weights(keep.weights)
        run.save_state(model)
        progress.say("  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    _calibrate(run.folder / "model.keras", fitted, training.seed, progress)
    (run.folder / "last.keras").unlink(missing_ok=True)  # six times the checkpoint's size, and of no more use
    return run.folder / "model.keras"


def _new_model(training: Training, fitted: Dataset, steps: int, progress: Progress) -> keras.Model:
    """Compiled for `training.epochs` of `steps` batches each; its head is trained already where the rest is."""
    keras.utils.set_random_seed(training.seed)
    model = build_classifier(training.architecture, len(fitted.labels), training.size, training.alpha, training.weights)
    if training.weights is not None and Path(training.weights).suffix == ".keras":
        _start_from(Path(training.weights), model, fitted.labels)
    elif training.weights is not None:
        _fit_head(model, fitted, training, progress)
    if training.fine_tune is not None:
        freeze_all_but(model, training.fine_tune)
    total = training.epochs * steps
    warmup = max(1, min(200, total // 5))
    schedule = keras.optimizers.schedules.CosineDecay(
        training.learning_rate / 20, max(1, total - warmup), alpha=0.01, warmup_target=training.learning_rate, warmup_steps=warmup
    )
    # What is validated and kept is the moving average of the weights over about the last half of an epoch: less noise, a flatter minimum.
    optimizer = keras.optimizers.Adam(schedule, clipnorm=1.0, use_ema=True, ema_momentum=1 - 1 / max(1.0, AVERAGED * steps))
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(label_smoothing=LABEL_SMOOTHING), jit_compile=_jit())
    return model


def undo_repeats(model: keras.Model, dataset: Dataset) -> None:
    """Make the scores probabilities among photos as they are, not as often as each came in training (Saerens et al. 2002, equation 2.4)."""
    kernel, bias = model.get_layer("scores").get_weights()
    model.get_layer("scores").set_weights([kernel, bias - np.log(list(repeats(dataset).values()), dtype=bias.dtype)])


def _start_from(path: Path, model: keras.Model, labels: tuple[str, ...]) -> None:
    """Take over the weights of a checkpoint, its head too, such as one trained with a smaller input."""
    trained, card = checkpoint.load(path)
    if (card.architecture, card.labels) != (model.name, labels):
        raise ModelError(f"{path}: {card.architecture} for {', '.join(card.labels)}; expected {model.name} for {', '.join(labels)}")
    try:
        model.set_weights(trained.get_weights())
    except ValueError:
        raise ModelError(f"{path}: of another width; expected --alpha {card.training.get('alpha')}") from None


def _calibrate(path: Path, dataset: Dataset, seed: int, progress: Progress) -> None:
    """Measure the statistics that int8 needs and put them into the checkpoint, so that it can be exported without photos."""
    progress.say("calibrating")
    model, card = checkpoint.load(path)
    photos, _ = choose_photos(dataset, card.labels, seed)
    batches = (normalise(batch, card.input) for batch in pixel_batches([photo.path for photo in photos.photos], card.input))
    folded = fold_batch_normalization(model)
    found = statistics(folded, observe(folded, batches), card.input)
    record = {"photos": len(photos.photos), "sha256": photos.digest(), "seed": seed, **found._asdict()}
    checkpoint.save(model, dataclasses.replace(card, calibration=record), path)


def _jit() -> bool | str:
    # XLA makes depthwise convolutions on a CPU fifteen times slower under TensorFlow (measured); JAX has nothing else.
    return False if keras.backend.backend() == "tensorflow" else "auto"


def _fit_head(model: keras.Model, dataset: Dataset, training: Training, progress: Progress) -> None:
    """Train the last layer alone on features of one augmented epoch, so that fine-tuning does not start by tearing the rest."""
    photos = AugmentedPhotos(dataset, training, 0, mixup=0)
    base = keras.Model(model.input, model.get_layer("dropout").input)
    show = _ShowSteps(progress, "features for the head", len(photos))
    features = base.predict(photos, verbose=0, callbacks=[show])  # (photos, channels)
    head = model.get_layer("scores")
    trained = keras.Sequential([keras.Input(features.shape[1:]), keras.layers.Dropout(0.2), head])
    trained.compile(keras.optimizers.Adam(3e-3), keras.losses.CategoricalCrossentropy(label_smoothing=LABEL_SMOOTHING), jit_compile=_jit())
    trained.fit(features, photos.targets[photos.order], batch_size=256, epochs=HEAD_EPOCHS, verbose=0)


def _validate(model: keras.Model, pixels: npt.NDArray[np.uint8], dataset: Dataset, recipe: InputRecipe) -> dict[str, float]:
    """Loss and accuracy on upright, unaugmented photos: of each class, so that none can fail unseen, and their mean."""
    scores = np.concatenate([model.predict_on_batch(normalise(pixels[i : i + 64], recipe)) for i in range(0, len(pixels), 64)])
    targets = dataset.targets()
    losses = -np.log(np.clip(scores[np.arange(len(targets)), targets], 1e-7, 1))
    right = scores.argmax(axis=1) == targets
    of_class = {label: targets == index for index, label in enumerate(dataset.labels)}
    row = {"validation_loss": float(np.mean([losses[members].mean() for members in of_class.values()]))}
    accuracies = {f"accuracy_{label}": float(right[members].mean()) for label, members in of_class.items()}
    return row | {"accuracy": float(np.mean(list(accuracies.values())))} | accuracies


def _write_history(run: Run) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, run.history[0])
    writer.writeheader()
    writer.writerows(run.history)
    run.write("history.csv", text.getvalue())
    draw_curves(run)


def draw_curves(run: Run) -> None:
    """curves.png: losses, and the accuracy of each class, over the epochs."""
    from matplotlib.figure import Figure

    epochs = [row["epoch"] for row in run.history]
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    for key in run.history[0]:
        values = [row[key] for row in run.history]
        if key.endswith("_loss"):
            losses.plot(epochs, values, marker="o", label=key.removesuffix("_loss"))
        elif key.startswith("accuracy"):
            accuracies.plot(epochs, values, marker="o", label=key.removeprefix("accuracy_") if "_" in key else "mean of classes")
    for axes, title in ((losses, "loss"), (accuracies, "accuracy on the validation part")):
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=100)
    run.write("curves.png", image.getvalue())
