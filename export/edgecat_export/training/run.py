"""A training run, from class folders to a calibrated checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from edgecat.card import ModelCard
from edgecat.errors import DataError
from edgecat.formats import read_card
from edgecat_export import checkpoint
from edgecat_export.architectures import find_architecture
from edgecat_export.dataset import (
    Dataset,
    check_photos,
    choose_photos,
    find_dataset,
    pixel_batches,
    split,
)
from edgecat_export.networks.fold import fold_batch_normalization
from edgecat_export.quantisation.observation import observe, statistics_of
from edgecat_export.training.fit import fit
from edgecat_export.training.learner import Parts
from edgecat_export.training.memory import keep_freed_memory
from edgecat_export.training.options import Options
from edgecat_export.training.progress import Progress
from edgecat_export.training.refinement import refine
from edgecat_export.training.run_folder import RunFolder

LICENCE = "Apache-2.0"
_RECORDED = (
    "alpha",
    "epochs",
    "batch",
    "learning_rate",
    "fine_tune",
    "mixup",
    "augment",
    "distill",
    "scenes",
    "seed",
    "exclude",
)  # options in the model card


def start(folder: Path, options: Options, progress: Progress) -> Dataset:
    """Train from the beginning; return the validation photos. Raise EdgecatError.

    The checkpoint is `RunFolder(folder).checkpoint`.
    """
    find_architecture(options.architecture, imagenet=options.starts_from_imagenet)
    # Wrong folders and scenes are reported before anything is written.
    photos = find_dataset(options.data, options.exclude).photos
    origins = sorted({photo.origin for photo in photos})
    for scene in options.scenes:
        if scene not in origins:
            known = ", ".join(origins)
            raise DataError(f"{scene}: no origin of the photos; expected --scenes with {known}")
    run = RunFolder(folder)
    run.create()
    run.write_options(options)
    return _train(run, options, progress)


def resume(folder: Path, progress: Progress) -> Dataset:
    """Go on from the last whole epoch of a run; return the validation photos."""
    run = RunFolder(folder)
    options = run.read_options()
    run.read_history()
    return _train(run, options, progress)


def _train(run: RunFolder, options: Options, progress: Progress) -> Dataset:
    keep_freed_memory()
    dataset = _find_photos(options, progress)
    training, validation = split(dataset, options.validation, options.seed)
    data = {
        "photos": dataset.counts(),
        "validation_photos": validation.counts(),
        "sha256": dataset.digest(),
    }
    run.write_options(options, data)
    run.write("labels.txt", "".join(f"{label}\n" for label in dataset.labels))
    if len(run.history) >= options.epochs:
        progress.say("all epochs are done")
    else:
        card = _card(options, dataset.labels, data)
        fit(run, options, Parts(dataset, training, validation), card, progress)
    refine(run, validation, progress)
    _calibrate(run.checkpoint, training, options.seed, progress)
    run.state.unlink(missing_ok=True)  # six times the checkpoint's size, and of no more use
    return validation


def _find_photos(options: Options, progress: Progress) -> Dataset:
    """Return the readable photos; say how many there are, and which are left out."""
    dataset = find_dataset(options.data, options.exclude)
    counts = [f"{count} {label}" for label, count in dataset.counts().items()]
    progress.say(f"photos: {', '.join(counts)}")
    for warning in dataset.warnings():
        progress.say(f"warning: {warning}")
    return check_photos(dataset, options.recipe(), progress.say)


def _card(options: Options, labels: tuple[str, ...], data: dict[str, Any]) -> ModelCard:
    weights = Path(options.weights).name if options.weights else None
    record = {**data, "weights": weights}
    record |= {name: getattr(options, name) for name in _RECORDED}
    if options.starts_from_checkpoint:
        record["started_from"] = read_card(Path(str(options.weights))).training
    return ModelCard(
        options.architecture,
        options.architecture,
        labels,
        options.recipe(),
        training=record,
        licence=LICENCE,
    )


def _calibrate(path: Path, dataset: Dataset, seed: int, progress: Progress) -> None:
    """Add the statistics for int8 to the checkpoint, so that it can be exported without photos."""
    progress.say("calibrating")
    model, card = checkpoint.load(path)
    photos, _ = choose_photos(dataset, card.labels, seed)
    paths = [photo.path for photo in photos.photos]
    batches = (card.input.normalise(batch) for batch in pixel_batches(paths, card.input))
    folded = fold_batch_normalization(model)
    measured = statistics_of(folded, observe(folded, batches), card.input)
    record = {
        "photos": len(photos.photos),
        "sha256": photos.digest(),
        "seed": seed,
        **measured._asdict(),
    }
    checkpoint.save(model, dataclasses.replace(card, calibration=record), path)
