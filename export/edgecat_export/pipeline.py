"""Exporting: checkpoint -> converted, quantised, verified model files.

parent   chooses photos, verifies what comes back, writes the card in, renames into place
child    loads Keras and converts; the TFLite converter's memory goes with it
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
import numpy.typing as npt

from edgecat.errors import ExportError
from edgecat.model_file import ModelCard, read_card, with_card
from edgecat.photo import InputRecipe, Pixels
from edgecat_export.dataset import FEW_PHOTOS, Dataset, choose_photos, find_dataset, pixel_batches
from edgecat_export.verify import Verification, made_inputs, verify

PRECISIONS = ("fp32", "fp16", "int8")
FORMATS = ("tflite", "onnx")


@dataclass(frozen=True)
class Job:
    """What the child does; arrays travel as files in `folder`."""

    checkpoint: Path
    folder: Path
    precisions: tuple[str, ...]
    formats: tuple[str, ...]
    ranges: dict[str, Any] | None  # of the calibration, or None to measure them on calibration.npy


@dataclass(frozen=True)
class Exported:
    """One file, as verified; `path` is where it was written, or None if it fell short."""

    name: str
    path: Path | None
    bytes: int
    verification: Verification
    shortfalls: list[str]


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
    name = name or card.name
    targets = {(precision, kind): out / f"{name}-{precision}.{kind}" for precision in precisions for kind in formats}
    for path in targets.values():
        if path.exists() and not force and not _made_here(path):
            raise ExportError(f"{path}: exists and was not made by 'edgecat export'; give --force to overwrite it, or another --out")
    out.mkdir(parents=True, exist_ok=True)
    calibration = dict(card.calibration)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        right: npt.NDArray[np.int64] | None = None
        if data:
            calibrate_on, check_on = choose_photos(find_dataset(data), card.labels, seed)
            say(f"photos: {len(check_on.photos)} to verify on" + (f", {len(calibrate_on.photos)} others to calibrate on" if "int8" in precisions else ""))
            if "int8" in precisions:
                if len(calibrate_on.photos) < FEW_PHOTOS:
                    say(f"warning: only {len(calibrate_on.photos)} photos to calibrate on; with {FEW_PHOTOS} or more, int8 is more exact")
                np.save(folder / "calibration.npy", _read(calibrate_on, card.input))
                calibration = {"photos": len(calibrate_on.photos), "sha256": calibrate_on.digest(), "seed": seed}
            pixels, right = _read(check_on, card.input), check_on.targets()
        else:
            pixels = made_inputs(card.input)
            say(
                f"no --data: verifying on {len(pixels)} inputs made by edgecat"
                + (", calibrated by the checkpoint's own ranges" if "int8" in precisions else "")
            )
        ranges = None if data else calibration.pop("ranges", None)
        if "int8" in precisions and not data and ranges is None:
            raise ExportError(f"{checkpoint}: carries no calibration, which int8 needs; give a folder of training photos with --data")
        np.save(folder / "inputs.npy", pixels)
        versions = _in_child(Job(checkpoint, folder, tuple(precisions), tuple(formats), ranges), say)
        reference = np.load(folder / "reference.npy")
        results = []
        for (precision, kind), path in targets.items():
            say(f"verifying {path.name}")
            own = dataclasses.replace(card, name=name, precision=precision, calibration=calibration if precision == "int8" else {}, versions=versions)
            results.append(_verify_and_write(folder / f"{precision}.{kind}", path, own, pixels, reference, right, max_drop))
    return results


def _read(dataset: Dataset, recipe: InputRecipe) -> Pixels:
    return np.concatenate(list(pixel_batches([photo.path for photo in dataset.photos], recipe)))


def _verify_and_write(
    converted: Path,
    path: Path,
    card: ModelCard,
    pixels: Pixels,
    reference: npt.NDArray[np.float32],
    right: npt.NDArray[np.int64] | None,
    max_drop: float | None,
) -> Exported:
    from edgecat_export.metadata import with_onnx_metadata, with_tflite_metadata

    put_in = with_tflite_metadata if path.suffix == ".tflite" else with_onnx_metadata
    model = put_in(converted.read_bytes(), card)
    trial = converted.with_name(path.name)
    trial.write_bytes(with_card(model, card))
    verification = verify(trial, pixels, reference, right)
    content = with_card(model, dataclasses.replace(card, verification=verification.record()))
    shortfalls = verification.shortfalls(card.precision, max_drop)
    if shortfalls:
        return Exported(path.name, None, len(content), verification, shortfalls)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ExportError(f"{path}: cannot be written ({error.strerror})") from None
    return Exported(path.name, path, len(content), verification, [])


def _made_here(path: Path) -> bool:
    from edgecat.errors import ModelError

    try:
        return bool(read_card(path).sha256)
    except ModelError:
        return False


def _in_child(job: Job, say: Callable[[str], None]) -> dict[str, str]:
    """Run the conversions in a process of its own; returns the tools' versions."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(1, mp_context=context) as pool:
        said = manager.Queue()
        future = pool.submit(_convert, job, said)
        future.add_done_callback(lambda _: said.put(None))
        for text in iter(said.get, None):
            say(text)
        try:
            return future.result()
        except BrokenProcessPool:
            raise ExportError("the conversion was killed, most likely for want of memory; it needs about 2 GB") from None


def _convert(job: Job, said: Any) -> dict[str, str]:
    """In the child: reference.npy (Keras's scores on inputs.npy) and PRECISION.FORMAT for each that is asked for."""
    from importlib.metadata import version

    os.environ["KERAS_BACKEND"] = "tensorflow"  # the only backend that the TFLite converter takes
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from edgecat_export import checkpoint, convert, quantise
    from edgecat_export.dataset import normalise

    said.put("loading the checkpoint")
    model, card = checkpoint.load(job.checkpoint)
    pixels = np.load(job.folder / "inputs.npy")
    np.save(
        job.folder / "reference.npy", np.concatenate([model.predict_on_batch(normalise(pixels[i : i + 32], card.input)) for i in range(0, len(pixels), 32)])
    )
    folded = convert.fold_batch_normalization(model)
    ranges = job.ranges
    if "int8" in job.precisions and ranges is None:
        said.put("calibrating")
        photos = np.load(job.folder / "calibration.npy")
        ranges = quantise.measure_ranges(folded, (normalise(photos[i : i + 32], card.input) for i in range(0, len(photos), 32)))
    for kind in job.formats:
        to_format = {"tflite": convert.to_tflite, "onnx": convert.to_onnx}[kind]
        for precision in job.precisions:
            said.put(f"converting to {precision} {kind}")
            if precision == "int8":
                quantised = {"tflite": quantise.tflite_int8, "onnx": quantise.onnx_int8}[kind]
                content = quantised(to_format(folded, "fp32"), ranges)
            else:
                content = to_format(folded, precision)
            (job.folder / f"{precision}.{kind}").write_bytes(content)
    libraries = {"tflite": ("tensorflow-cpu", "tensorflow", "ai-edge-quantizer"), "onnx": ("tf2onnx", "onnx", "onnxruntime")}
    found = {}
    for library in ("edgecat", "keras", *(name for kind in job.formats for name in libraries[kind])):
        try:
            found[library] = version(library)
        except ImportError:
            continue
    return found
