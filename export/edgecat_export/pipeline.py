"""Exporting: checkpoint -> converted, quantised, verified model files.

parent   chooses and reads photos; puts files in their place that were proven right
child    loads Keras, converts, verifies; the TFLite converter's memory goes with it
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecat.errors import ExportError, ModelError
from edgecat.model_file import ModelCard, read_card, with_card
from edgecat.photo import InputRecipe, Pixels
from edgecat_export.dataset import FEW_PHOTOS, Dataset, choose_photos, find_photos_for, normalise, pixel_batches
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
    """What the child does. Photos travel as files in `folder`: inputs.npy, targets.npy and perhaps groups.npy to verify on, calibration.npy."""

    checkpoint: Path
    card: ModelCard
    folder: Path
    files: tuple[tuple[str, str], ...]  # precision and format of each
    ranges: Ranges | None  # that the checkpoint carries; None to measure them on calibration.npy


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
) -> list[Exported]:
    """Convert `checkpoint` and write each file that is proven to answer like it. Raises EdgecatError.

    With folders of photos in `data`, int8 is calibrated on some and every file verified on others;
    without, int8 uses the ranges that the checkpoint carries and verification makes its own inputs.
    """
    card = read_card(checkpoint)
    card = dataclasses.replace(card, name=name or card.name)
    files = {(precision, kind): out / f"{card.name}-{precision}.{kind}" for precision in precisions for kind in formats}
    for path in files.values():
        if path.exists() and not force and not _made_here(path):
            raise ExportError(f"{path}: exists and was not made by 'edgecat export'; give --force to overwrite it, or another --out")
    calibration = dict(card.calibration)
    ranges: Ranges | None = calibration.pop("ranges", None)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if data:
            photos = find_photos_for(card, data)
            calibrate_on, verify_on = choose_photos(photos, photos.labels, seed)
            say(f"photos: {len(calibrate_on.photos)} to calibrate on, {len(verify_on.photos)} others to verify on")
            if len(calibrate_on.photos) < FEW_PHOTOS and "int8" in precisions:
                say(f"warning: only {len(calibrate_on.photos)} photos to calibrate on; with {FEW_PHOTOS} or more, int8 is more exact")
            ranges, calibration = None, {"photos": len(calibrate_on.photos), "sha256": calibrate_on.digest(), "seed": seed}
            np.save(folder / "calibration.npy", _read(calibrate_on, card.input))
            np.save(folder / "inputs.npy", _read(verify_on, card.input))
            np.save(folder / "targets.npy", verify_on.targets())
            if photos.labels != card.labels:
                np.save(folder / "groups.npy", [photos.labels.index(card.groups.get(label, label)) for label in card.labels])
        else:
            if "int8" in precisions and not ranges:
                raise ExportError(f"{checkpoint}: carries no calibration, which int8 needs; give a folder of training photos with --data")
            say("no --data: calibrated by the ranges in the checkpoint, verified on inputs made by edgecat")
        verified = _in_child(_Job(checkpoint, dataclasses.replace(card, calibration=calibration), folder, tuple(files), ranges), say)
        return [
            _put_in_place(folder / f"{precision}.{kind}", path, verification, verification.shortfalls(precision, max_drop, len(card.labels)))
            for ((precision, kind), path), verification in zip(files.items(), verified, strict=True)
        ]


def _read(dataset: Dataset, recipe: InputRecipe) -> Pixels:
    return np.concatenate(list(pixel_batches([photo.path for photo in dataset.photos], recipe)))


def _made_here(path: Path) -> bool:
    try:
        return bool(read_card(path).verification)
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
        part.unlink(missing_ok=True)
        raise ExportError(f"{path}: cannot be written ({error.strerror}); give another folder with --out") from None
    return Exported(path.name, path, len(content), verification, [])


def _in_child(job: _Job, say: Callable[[str], None]) -> list[Verification]:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(1, mp_context=context) as pool:
        said = manager.Queue()
        future = pool.submit(_convert_and_verify, job, said)
        future.add_done_callback(lambda _: said.put(None))
        for text in iter(said.get, None):
            say(text)
        try:
            return future.result()
        except BrokenProcessPool:
            raise ExportError("the conversion was killed, most likely for want of memory; it needs about 2 GB") from None


def _convert_and_verify(job: _Job, said: Any) -> list[Verification]:
    """In the child: write PRECISION.FORMAT with card and metadata for each file of the job."""
    # The converters' chatter stays out of sight; what goes wrong comes back as an exception.
    log = os.open(job.folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the only backend that the TFLite converter takes
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    from edgecat_export import checkpoint, convert, fold, metadata, quantise
    from edgecat_export.made_inputs import made_inputs

    tf.config.experimental.enable_op_determinism()  # the same checkpoint gives the same bytes
    said.put("loading the checkpoint")
    model, card = checkpoint.load(job.checkpoint)
    folded = fold.fold_batch_normalization(model)
    if (job.folder / "inputs.npy").exists():
        inputs, targets = np.load(job.folder / "inputs.npy"), np.load(job.folder / "targets.npy")
    else:
        said.put("making inputs to verify on")
        inputs, targets = made_inputs(model, card.input), None
    groups = np.load(job.folder / "groups.npy") if (job.folder / "groups.npy").exists() else None
    reference = np.concatenate([model.predict_on_batch(normalise(inputs[i : i + 32], card.input)) for i in range(0, len(inputs), 32)])
    ranges = job.ranges or {}
    if any(precision == "int8" for precision, _ in job.files) and not ranges:
        said.put("calibrating")
        photos = np.load(job.folder / "calibration.npy")
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
        own = dataclasses.replace(job.card, precision=precision, calibration=calibration, versions=_versions(kind))
        described = with_metadata(converted, own)
        file = job.folder / f"{precision}.{kind}"
        file.write_bytes(with_card(described, own))
        said.put(f"verifying {precision} {kind}")
        verification = verify(file, inputs, reference, targets, groups)
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
