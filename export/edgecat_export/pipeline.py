"""Export: a checkpoint becomes converted, quantised, verified model files.

parent   chooses and reads photos; moves the files that passed to their place
child    loads Keras, converts, verifies; the converter's memory ends with it
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgecat.card import InputRecipe, ModelCard
from edgecat.errors import EdgecatError, ExportError, ModelError
from edgecat.foreign.description import Description
from edgecat.formats import read_card
from edgecat_export import checkpoint as checkpoints
from edgecat_export.dataset import (
    FEW_PHOTOS,
    Dataset,
    check_photos,
    choose_photos,
    find_photos_for,
    pixel_batches,
)
from edgecat_export.job import Built, Job
from edgecat_export.provenance import made_by
from edgecat_export.quantisation.statistics import Statistics
from edgecat_export.request import Exported, Request
from edgecat_export.verify import limits
from edgecat_export.worker import Messages, explained, in_child

NO_CALIBRATION = (
    "carries no calibration, which int8 needs; "
    "give a folder of training photos with --data, or take --fp16"
)

__all__ = ["Exported", "Request", "export"]

Say = Callable[[str], None]


@explained()
def export(request: Request, say: Say = lambda text: None) -> list[Exported]:
    """Write each file that passes verification against its checkpoint.

    A file that fails does not stop the others; its `Exported` has the reason. Raise EdgecatError
    for what concerns all of them.
    """
    _check_folder(request.out)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        checkpoint = _checkpoint_with_card(request, folder, say)
        card = _card(request, checkpoint)
        files = _files(request, card)
        calibration = _calibration(request, card, folder, say)
        job = _job(request, checkpoint, card, tuple(files), calibration, folder)
        results = in_child(_build, job, folder=folder, say=say)
        return [
            _move_into_place(folder / f"{precision}.{kind}", path, result)
            for ((precision, kind), path), result in zip(files.items(), results, strict=True)
        ]


def _check_folder(out: Path) -> None:
    """Raise ExportError if nothing can be written there, before the work rather than after it."""
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ExportError(
            f"{out}: cannot be written to ({error.strerror}); give another folder with --out"
        ) from None


def _checkpoint_with_card(request: Request, folder: Path, say: Say) -> Path:
    """Return the checkpoint, or one in `folder` made of a file that Keras alone wrote."""
    source = request.checkpoint
    if checkpoints.has_card(source):
        if request.description is not None:
            raise ExportError(
                f"{source}: carries its labels and its recipe; leave --labels, --mean and --std out"
            )
        return source
    if "int8" in request.precisions and not request.data:
        raise ExportError(f"{source}: {NO_CALIBRATION}")
    adopted = folder / "adopted.keras"
    description = request.description or Description()
    in_child(_adopt, source, description, adopted, folder=folder, say=say)
    return adopted


def _card(request: Request, checkpoint: Path) -> ModelCard:
    card = read_card(checkpoint)
    origin = made_by(request, card.made_by)
    return dataclasses.replace(card, name=request.name or card.name, made_by=origin)


def _files(request: Request, card: ModelCard) -> dict[tuple[str, str], Path]:
    """Return the path of each precision and format. Raise ExportError for someone else's file."""
    files = {
        (precision, kind): request.out / f"{card.name}-{precision}.{kind}"
        for precision in request.precisions
        for kind in request.formats
    }
    for path in files.values():
        if path.exists() and not request.force and not _was_exported(path):
            raise ExportError(
                f"{path}: exists and was not made by 'edgecat export'; "
                "give --force to overwrite it, or another --out"
            )
    return files


def _was_exported(path: Path) -> bool:
    try:
        return bool(read_card(path).verification)
    except ModelError:
        return False


class _Calibration(NamedTuple):
    """The statistics of the checkpoint, or None if they are measured on photos."""

    statistics: Statistics | None
    record: dict[str, object]  # for the model card
    answers: tuple[str, ...]  # the labels or groups of the photos to verify on


def _calibration(request: Request, card: ModelCard, folder: Path, say: Say) -> _Calibration:
    """Store the photos to calibrate and verify on in `folder`, if the request has photos."""
    if request.data:
        return _choose_photos(request, card, folder, say)
    record = dict(card.calibration)
    ranges, means = (record.pop(key, None) for key in Statistics._fields)
    statistics = Statistics(ranges, means) if ranges and means else None
    if "int8" in request.precisions and statistics is None:
        raise ExportError(f"{request.checkpoint}: {NO_CALIBRATION}")
    say("no --data: calibrated by the ranges in the checkpoint, verified on inputs made by edgecat")
    return _Calibration(statistics, record, card.labels)


def _choose_photos(request: Request, card: ModelCard, folder: Path, say: Say) -> _Calibration:
    photos = find_photos_for(card, request.data)
    calibrating, verifying = choose_photos(
        photos, photos.labels, request.seed, lambda chosen: check_photos(chosen, card.input, say)
    )
    count, others = len(calibrating.photos), len(verifying.photos)
    say(f"photos: {count} to calibrate on, {others} others to verify on")
    if count < FEW_PHOTOS and "int8" in request.precisions:
        say(
            f"warning: only {count} photos to calibrate on; "
            f"with {FEW_PHOTOS} or more, int8 is more exact"
        )
    _store(calibrating, card.input, folder / "calibration.npy")
    _store(verifying, card.input, folder / "inputs.npy")
    np.save(folder / "targets.npy", verifying.targets())
    if photos.labels != card.labels:
        groups = [photos.labels.index(card.groups.get(label, label)) for label in card.labels]
        np.save(folder / "groups.npy", groups)
    record = {"photos": count, "sha256": calibrating.digest(), "seed": request.seed}
    return _Calibration(None, record, photos.labels)


def _store(dataset: Dataset, recipe: InputRecipe, path: Path) -> None:
    """Write the pixels as .npy, (photos, height, width, 3), one batch in memory at a time."""
    shape = (len(dataset.photos), recipe.height, recipe.width, 3)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for batch in pixel_batches([photo.path for photo in dataset.photos], recipe):
            file.write(batch.tobytes())


def _job(
    request: Request,
    checkpoint: Path,
    card: ModelCard,
    files: tuple[tuple[str, str], ...],
    calibration: _Calibration,
    folder: Path,
) -> Job:
    on_photos, labels = bool(request.data), len(card.labels)
    return Job(
        checkpoint,
        dataclasses.replace(card, calibration=calibration.record),
        folder,
        files,
        calibration.statistics,
        calibration.answers,
        {
            precision: limits(precision, on_photos, labels, request.max_drop, request.min_agreement)
            for precision in request.precisions
        },
        request.io,
        request.mixed,
        request.explain,
    )


def _move_into_place(made: Path, path: Path, result: Built | EdgecatError) -> Exported:
    """Move a file that passed to its path, whole or not at all."""
    if isinstance(result, EdgecatError):
        return Exported(path.name, None, failure=f"{path.name}: {result}")
    content = made.read_bytes()
    if result.shortfalls:
        return Exported(path.name, None, len(content), result)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        reason = f"{path}: cannot be written ({error.strerror})"
        advice = "make room, or give another folder with --out"
        return Exported(path.name, None, len(content), result, f"{reason}; {advice}")
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return Exported(path.name, path, len(content), result)


# Imported in the child: Keras, which the parent does without.


def _adopt(source: Path, description: Description, target: Path, messages: Messages) -> None:
    from edgecat_export.adoption.adopt import adopt

    adopt(source, description, target, messages)


def _build(job: Job, messages: Messages) -> list[Built | EdgecatError]:
    from edgecat_export.build import build

    return build(job, messages)
