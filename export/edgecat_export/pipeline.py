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

from edgecat.errors import ExportError, ModelError
from edgecat.model_file import ModelCard, read_card, with_card
from edgecat.photo import InputRecipe
from edgecat_export import checkpoint as checkpoints
from edgecat_export.child import Said, explained, in_child
from edgecat_export.dataset import FEW_PHOTOS, Dataset, check_photos, choose_photos, find_dataset, normalise, pixel_batches
from edgecat_export.given import Given
from edgecat_export.names import Ranges
from edgecat_export.verify import Verification, verify

_TOOLS = {"tflite": ("tensorflow-cpu", "tensorflow", "ai-edge-quantizer"), "onnx": ("tf2onnx", "onnx", "onnxruntime")}


@dataclass(frozen=True)
class Exported:
    """One file, as verified; `path` is where it was written, or None if it fell short."""

    name: str
    path: Path | None
    bytes: int
    verification: Verification
    shortfalls: list[str]


@dataclass(frozen=True)
class _Job:
    """What the child does. Photos travel as files in `folder`: inputs.npy and targets.npy to verify on, calibration.npy."""

    checkpoint: Path
    card: ModelCard
    folder: Path
    files: tuple[tuple[str, str], ...]  # precision and format of each
    ranges: Ranges | None  # that the checkpoint carries; None to measure them on calibration.npy


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
    given: Given = Given(),  # noqa: B008
) -> list[Exported]:
    """Convert `checkpoint` and write each file that is proven to answer like it. Raises EdgecatError.

    With folders of photos in `data`, int8 is calibrated on some and every file verified on others;
    without, int8 uses the ranges that the checkpoint carries and verification makes its own inputs.
    `given` describes a `.keras` file that edgecat did not train.
    """
    _check_folder(out)
    with tempfile.TemporaryDirectory() as temporary:
        folder, source = Path(temporary), checkpoint
        if checkpoints.has_card(source) and given != Given():
            raise ExportError(f"{source}: carries its labels and its recipe; leave --labels, --mean and --std out")
        if not checkpoints.has_card(source):
            if "int8" in precisions and not data:
                raise ExportError(f"{source}: carries no calibration, which int8 needs; give a folder of training photos with --data, or take --fp16")
            checkpoint = folder / "adopted.keras"
            in_child(_adopt, source, given, checkpoint, folder=folder, say=say)
        card = read_card(checkpoint)
        card = dataclasses.replace(card, name=name or card.name, made_by=_made_by(source, data, name, seed, given))
        files = {(precision, kind): out / f"{card.name}-{precision}.{kind}" for precision in precisions for kind in formats}
        for path in files.values():
            if path.exists() and not force and not _made_here(path):
                raise ExportError(f"{path}: exists and was not made by 'edgecat export'; give --force to overwrite it, or another --out")
        calibration = dict(card.calibration)
        ranges: Ranges | None = calibration.pop("ranges", None)
        if data:
            calibrate_on, verify_on = choose_photos(find_dataset(data), card.labels, seed, lambda chosen: check_photos(chosen, card.input, say))
            say(f"photos: {len(calibrate_on.photos)} to calibrate on, {len(verify_on.photos)} others to verify on")
            if len(calibrate_on.photos) < FEW_PHOTOS and "int8" in precisions:
                say(f"warning: only {len(calibrate_on.photos)} photos to calibrate on; with {FEW_PHOTOS} or more, int8 is more exact")
            ranges, calibration = None, {"photos": len(calibrate_on.photos), "sha256": calibrate_on.digest(), "seed": seed}
            _store(calibrate_on, card.input, folder / "calibration.npy")
            _store(verify_on, card.input, folder / "inputs.npy")
            np.save(folder / "targets.npy", verify_on.targets())
        else:
            if "int8" in precisions and not ranges:
                raise ExportError(f"{source}: carries no calibration, which int8 needs; give a folder of training photos with --data")
            say("no --data: calibrated by the ranges in the checkpoint, verified on inputs made by edgecat")
        job = _Job(checkpoint, dataclasses.replace(card, calibration=calibration), folder, tuple(files), ranges)
        verified = in_child(_convert_and_verify, job, folder=folder, say=say)
        return [
            _put_in_place(folder / f"{precision}.{kind}", path, verification, verification.shortfalls(precision, max_drop))
            for ((precision, kind), path), verification in zip(files.items(), verified, strict=True)
        ]


def _check_folder(out: Path) -> None:
    """Raises ExportError, before the work rather than after it, if nothing can be written there."""
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ExportError(f"{out}: cannot be written to ({error.strerror}); give another folder with --out") from None


def _made_by(source: Path, data: Sequence[str], name: str | None, seed: int, given: Given) -> dict[str, str]:
    """For the card: base names only, so that where a file was made does not show in it; precision and format are added for each."""
    words = ["edgecat", "export", source.stem if source.parent == checkpoints.SHIPPED else source.name]
    for folder in data:
        label, equals, path = folder.rpartition("=")
        words += ["--data", f"{label}{equals}{Path(path).resolve().name}"]
    words += ["--seed", str(seed)] if data and seed != 1 else []
    words += ["--name", name] if name else []
    return {"command": shlex.join([*words, *given.options()]), "checkpoint": source.name, "sha256": hashlib.sha256(source.read_bytes()).hexdigest()}


def _store(dataset: Dataset, recipe: InputRecipe, path: Path) -> None:
    """The photos' pixels as a .npy file, (photos, height, width, 3), without holding them all."""
    with path.open("wb") as file:
        shape = (len(dataset.photos), recipe.height, recipe.width, 3)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for batch in pixel_batches([photo.path for photo in dataset.photos], recipe):
            file.write(batch.tobytes())


def _made_here(path: Path) -> bool:
    try:
        return bool(read_card(path).sha256)
    except ModelError:
        return False


def _put_in_place(made: Path, path: Path, verification: Verification, shortfalls: list[str]) -> Exported:
    content = made.read_bytes()
    if shortfalls:
        return Exported(path.name, None, len(content), verification, shortfalls)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written ({error.strerror}); make room, or give another folder with --out") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return Exported(path.name, path, len(content), verification, [])


def _adopt(source: Path, given: Given, target: Path, said: Said) -> None:
    from edgecat_export.adopt import adopt  # Keras, which the parent does without

    adopt(source, given, target, said)


def _convert_and_verify(job: _Job, said: Said) -> list[Verification]:
    """In the child: write PRECISION.FORMAT with card and metadata for each file of the job."""
    import tensorflow as tf

    from edgecat_export import checkpoint, convert, fold, metadata, quantise
    from edgecat_export.made_inputs import made_inputs

    tf.config.experimental.enable_op_determinism()  # the same checkpoint gives the same bytes
    said.put("loading the checkpoint")
    model, card = checkpoint.load(job.checkpoint)
    folded = fold.fold_batch_normalization(model)
    if (job.folder / "inputs.npy").exists():
        inputs, targets = np.load(job.folder / "inputs.npy", mmap_mode="r"), np.load(job.folder / "targets.npy")
    else:
        said.put("making inputs to verify on")
        inputs, targets = made_inputs(model, card.input), None
    reference = np.concatenate([model.predict_on_batch(normalise(inputs[i : i + 32], card.input)) for i in range(0, len(inputs), 32)])
    ranges = job.ranges or {}
    if any(precision == "int8" for precision, _ in job.files) and not ranges:
        said.put("calibrating")
        photos = np.load(job.folder / "calibration.npy", mmap_mode="r")
        ranges = fold.measure_ranges(folded, (normalise(photos[i : i + 32], card.input) for i in range(0, len(photos), 32)), card.input)
    steps = {
        "tflite": (convert.to_tflite, quantise.tflite_int8, metadata.with_tflite_metadata),
        "onnx": (convert.to_onnx, quantise.onnx_int8, metadata.with_onnx_metadata),
    }
    verified = []
    for precision, kind in job.files:
        said.put(f"converting to {precision} {kind}")
        to_float, to_int8, with_metadata = steps[kind]
        converted = to_int8(to_float(folded, "fp32"), ranges) if precision == "int8" else to_float(folded, precision)
        calibration = job.card.calibration if precision == "int8" else {}
        made_by = {**job.card.made_by, "command": f"{job.card.made_by['command']} --{precision} --format {kind}"}
        own = dataclasses.replace(job.card, precision=precision, calibration=calibration, versions=_versions(kind), made_by=made_by)
        described = with_metadata(converted, own)
        file = job.folder / f"{precision}.{kind}"
        file.write_bytes(with_card(described, own))
        said.put(f"verifying {precision} {kind}")
        verification = verify(file, inputs, reference, targets)
        file.write_bytes(with_card(described, dataclasses.replace(own, verification=verification.record())))
        verified.append(verification)
    return verified


def _versions(kind: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for tool in ("edgecat", "keras", *_TOOLS[kind]):
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:  # one of the two TensorFlows
            continue
    return found
