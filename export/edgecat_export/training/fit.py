"""The epochs of a run."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from typing import Any

import keras
import numpy as np

from edgecat.card import ModelCard
from edgecat.errors import ModelError
from edgecat_export import checkpoint
from edgecat_export.dataset import Dataset, part_of, repeats
from edgecat_export.training.learner import FeatureLearner, Learner, Parts, PhotoLearner
from edgecat_export.training.network.distillation import DRIFT
from edgecat_export.training.network.head import LABEL_SMOOTHING, jit
from edgecat_export.training.options import Options
from edgecat_export.training.progress import Progress, ShowSteps
from edgecat_export.training.report import validation_row
from edgecat_export.training.run_folder import RunFolder

AVERAGED = 0.5  # epochs: the reach of the moving average of the weights


def fit(
    run: RunFolder, options: Options, parts: Parts, card: ModelCard, progress: Progress
) -> None:
    """Train the epochs that are left, and keep the best as the checkpoint. Raise ModelError."""
    if run.history:
        progress.say(f"resuming after epoch {len(run.history)} of {options.epochs}")
    kind = FeatureLearner if options.fine_tune == 0 else PhotoLearner
    learner: Learner = kind(run, options, parts, progress)
    if not run.history:
        compile_network(learner.network, options, steps=len(learner.batches(0)))
    while len(run.history) < options.epochs:
        _fit_epoch(learner, run, options, parts, card, progress)


def _fit_epoch(
    learner: Learner,
    run: RunFolder,
    options: Options,
    parts: Parts,
    card: ModelCard,
    progress: Progress,
) -> None:
    epoch, network = len(run.history) + 1, learner.network
    began = time.monotonic()
    batches, last_weights = learner.batches(epoch), _LastWeights()
    _seed_dropout(network, options.seed, epoch)
    show = ShowSteps(progress, f"epoch {epoch}/{options.epochs}", len(batches))
    fitted = network.fit(batches, shuffle=False, verbose=0, callbacks=[show, last_weights])
    # On JAX, the averages still share their memory with the optimiser's.
    network.set_weights([np.array(value) for value in network.get_weights()])
    undo_repeats(network, parts.training)
    row = {
        "epoch": epoch,
        "training_loss": float(fitted.history["loss"][0]),
        **validation_row(learner.scores(), parts.validation),
    }
    row["seconds"] = round(time.monotonic() - began, 1)
    if not math.isfinite(row["training_loss"]):
        raise ModelError(
            f"training diverged in epoch {epoch}; start again with a smaller --learning-rate"
        )
    best = min((past["validation_loss"] for past in run.history), default=math.inf)
    run.history.append(row)
    if row["validation_loss"] < best:
        evaluation = {"data": "validation part of the training photos", **row}
        best_card = dataclasses.replace(card, evaluation=evaluation)
        checkpoint.save(learner.model, best_card, run.checkpoint)
    run.write_history()
    network.set_weights(last_weights.values)
    run.save_state(network)
    progress.say("  ".join(f"{key} {value:.4g}" for key, value in row.items()))


def _seed_dropout(network: keras.Model, seed: int, epoch: int) -> None:
    """Let the random numbers of each epoch depend on `seed` and `epoch` alone.

    Keras does not save the state of their generators, so a resumed run would draw others.
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign([seed, epoch])


class _LastWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """The weights after the last step. Then `fit` replaces them by their moving average."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.values = [np.array(value) for value in self.model.get_weights()]


def compile_network(network: keras.Model, options: Options, steps: int) -> None:
    """Compile for `options.epochs` of `steps` batches each."""
    total = options.epochs * steps
    warmup = max(1, min(200, total // 5))
    schedule = keras.optimizers.schedules.CosineDecay(
        options.learning_rate / 20,
        max(1, total - warmup),
        alpha=0.01,
        warmup_target=options.learning_rate,
        warmup_steps=warmup,
    )
    # The moving average of the weights is validated and kept: less noise, a flatter minimum.
    momentum = 1 - 1 / max(1.0, AVERAGED * steps)
    optimizer = keras.optimizers.Adam(schedule, clipnorm=1.0, use_ema=True, ema_momentum=momentum)
    classes = keras.losses.CategoricalCrossentropy(label_smoothing=LABEL_SMOOTHING)
    if len(network.outputs) > 1:
        network.compile(
            optimizer,
            {"scores": classes, DRIFT: "mean_absolute_error"},  # from 0, and it is never below
            loss_weights={"scores": 1.0, DRIFT: options.distill},
            jit_compile=jit(),
        )
    else:
        network.compile(optimizer, classes, jit_compile=jit())


def undo_repeats(model: keras.Model, dataset: Dataset) -> None:
    """Make the scores probabilities among the photos, not among their repetitions in an epoch.

    Saerens et al. 2002, equation 2.4. Where photos come from several origins, the repetitions are
    kept: the number of photos of an origin does not predict what the model will see.
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
