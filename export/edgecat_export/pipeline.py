"""Exporting: checkpoint -> converted, quantised, verified model files.

parent   chooses and reads photos; puts files in their place that were proven right
child    loads Keras, converts, verifies; the TFLite converter's memory goes with it
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shlex
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecat.card import InputRecipe, ModelCard, base_names
from edgecat.errors import ExportError, ModelError
from edgecat.foreign.description import Description
from edgecat.formats import read_card
from edgecat_export import checkpoint as checkpoints
from edgecat_export.build import Built, Job, build
from edgecat_export.child import Said, explained, in_child
from edgecat_export.dataset import (
    FEW_PHOTOS,
    Dataset,
    check_photos,
    choose_photos,
    find_photos_for,
    pixel_batches,
)
from edgecat_export.names import Statistics
from edgecat_export.verify import limits

NO_CALIBRATION = "carries no calibration, which int8 needs; give a folder of training photos with --data, or take --fp16"


@dataclass(frozen=True)
class Exported:
    """One file, as verified; `path` is where it was written, or None if it fell short."""

    name: str
    path: Path | None
    bytes: int
    built: Built


@explained()
def export(
    checkpoint: Path,
    out: Path,
    precisions: Sequence[str],
    formats: Sequence[str],
    data: Sequence[str] = (),
    name: str | None = None,
    force: bool = False,
    max_drop: float | None = None,
    seed: int = 1,
    say: Callable[[str], None] = lambda text: None,
    given: Description | None = None,
    io: str = "uint8",
    mixed: bool = False,
    explain: bool = False,
    min_agreement: float | None = None,
) -> list[Exported]:
    """Convert `checkpoint` and write each file that is proven to answer like it. Raises EdgecatError.

    With folders of photos in `data`, int8 is calibrated on some and every file verified on others;
    without, int8 uses the ranges that the checkpoint carries and verification makes its own inputs.
    `given` describes a `.keras` file that edgecat did not train. Where int8 falls short, other ways to quantise are tried;
    `mixed` allows layers in float32, `explain` measures what int8 costs each layer. `io` is what int8 TFLite files read and give.
    """
    _check_folder(out)
    with tempfile.TemporaryDirectory() as temporary:
        folder, source = Path(temporary), checkpoint
        if checkpoints.has_card(source) and given is not None:
            raise ExportError(
                f"{source}: carries its labels and its recipe; leave --labels, --mean and --std out"
            )
        if not checkpoints.has_card(source):
            if "int8" in precisions and not data:
                raise ExportError(f"{source}: {NO_CALIBRATION}")
            checkpoint = folder / "adopted.keras"
            in_child(_adopt, source, given or Description(), checkpoint, folder=folder, say=say)
        card = read_card(checkpoint)
        options = {
            "--seed": seed if data and seed != 1 else None,
            "--name": name,
            "--io": io if io != "uint8" else None,
        }
        words = [
            str(word)
            for option, value in options.items()
            if value is not None
            for word in (option, value)
        ]
        words += ["--mixed"] * mixed + (_typed(given) if given else [])
        card = dataclasses.replace(
            card, name=name or card.name, made_by=_made_by(source, card, words, data)
        )
        files = {
            (precision, kind): out / f"{card.name}-{precision}.{kind}"
            for precision in precisions
            for kind in formats
        }
        for path in files.values():
            if path.exists() and not force and not _made_here(path):
                raise ExportError(
                    f"{path}: exists and was not made by 'edgecat export'; give --force to overwrite it, or another --out"
                )
        calibration = dict(card.calibration)
        ranges, means = (calibration.pop(key, None) for key in Statistics._fields)
        statistics = Statistics(ranges, means) if ranges and means else None
        if data:
            photos = find_photos_for(card, data)
            calibrate_on, verify_on = choose_photos(
                photos, photos.labels, seed, lambda chosen: check_photos(chosen, card.input, say)
            )
            say(
                f"photos: {len(calibrate_on.photos)} to calibrate on, {len(verify_on.photos)} others to verify on"
            )
            if len(calibrate_on.photos) < FEW_PHOTOS and "int8" in precisions:
                say(
                    f"warning: only {len(calibrate_on.photos)} photos to calibrate on; with {FEW_PHOTOS} or more, int8 is more exact"
                )
            statistics, calibration = (
                None,
                {"photos": len(calibrate_on.photos), "sha256": calibrate_on.digest(), "seed": seed},
            )
            _store(calibrate_on, card.input, folder / "calibration.npy")
            _store(verify_on, card.input, folder / "inputs.npy")
            np.save(folder / "targets.npy", verify_on.targets())
            if photos.labels != card.labels:
                np.save(
                    folder / "groups.npy",
                    [photos.labels.index(card.groups.get(label, label)) for label in card.labels],
                )
        else:
            if "int8" in precisions and statistics is None:
                raise ExportError(f"{source}: {NO_CALIBRATION}")
            say(
                "no --data: calibrated by the ranges in the checkpoint, verified on inputs made by edgecat"
            )
        job = Job(
            checkpoint,
            dataclasses.replace(card, calibration=calibration),
            folder,
            tuple(files),
            statistics,
            photos.labels if data else card.labels,
            {
                precision: limits(precision, bool(data), len(card.labels), max_drop, min_agreement)
                for precision in precisions
            },
            io,
            mixed,
            explain,
        )
        built = in_child(build, job, folder=folder, say=say)
        return [
            _put_in_place(folder / f"{precision}.{kind}", path, done)
            for ((precision, kind), path), done in zip(files.items(), built, strict=True)
        ]


def _check_folder(out: Path) -> None:
    """Raises ExportError, before the work rather than after it, if nothing can be written there."""
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ExportError(
            f"{out}: cannot be written to ({error.strerror}); give another folder with --out"
        ) from None


def _made_by(
    source: Path, card: ModelCard, options: Sequence[str], data: Sequence[str]
) -> dict[str, str]:
    """For the card: base names only, so that where a file was made does not show in it; precision and format are added for each."""
    origin = dict(card.made_by)  # of ImageNet weights
    if not origin:
        command = shlex.join(
            [
                "edgecat",
                "export",
                source.stem if source.parent == checkpoints.SHIPPED else source.name,
            ]
        )
        origin = {
            "command": command,
            "checkpoint": source.name,
            "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        }
    words = [word for folder in data for word in ("--data", base_names(folder))]
    return {
        **origin,
        "command": " ".join(filter(None, (origin["command"], shlex.join([*words, *options])))),
    }


def _typed(given: Description) -> list[str]:
    """The options as they would be typed, a label file by its base name."""
    labels = (
        given.labels
        if given.labels is None or isinstance(given.labels, (str, os.PathLike))
        else ",".join(given.labels)
    )
    typed = {"--labels": Path(labels).name if labels else None}
    typed |= {
        option: ",".join(f"{value:g}" for value in np.ravel(values))
        for option, values in (("--mean", given.mean), ("--std", given.std))
        if values is not None
    }
    return [word for option, value in typed.items() if value for word in (option, value)]


def _store(dataset: Dataset, recipe: InputRecipe, path: Path) -> None:
    """The photos' pixels as a .npy file, (photos, height, width, 3), without holding them all."""
    with path.open("wb") as file:
        shape = (len(dataset.photos), recipe.height, recipe.width, 3)
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        for batch in pixel_batches([photo.path for photo in dataset.photos], recipe):
            file.write(batch.tobytes())


def _made_here(path: Path) -> bool:
    try:
        return bool(read_card(path).verification)
    except ModelError:
        return False


def _put_in_place(made: Path, path: Path, built: Built) -> Exported:
    content = made.read_bytes()
    if built.shortfalls:
        return Exported(path.name, None, len(content), built)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        raise ExportError(
            f"{path}: cannot be written ({error.strerror}); make room, or give another folder with --out"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return Exported(path.name, path, len(content), built)


def _adopt(source: Path, given: Description, target: Path, said: Said) -> None:
    from edgecat_export.adopt import adopt  # Keras, which the parent does without

    adopt(source, given, target, said)
