"""What the child process does: load Keras, convert, quantise, verify; where int8 loses too much, try what may bring it back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgecat.card import ModelCard
from edgecat.formats import write_card
from edgecat.photo import Pixels
from edgecat_export.child import Said
from edgecat_export.dataset import normalise
from edgecat_export.names import Ranges, Statistics
from edgecat_export.verify import Limits, Verification, median_latency_ms, verify

if TYPE_CHECKING:
    import keras

    from edgecat_export.calibrate import Outputs

_TOOLS = {
    "tflite": ("tensorflow-cpu", "tensorflow", "ai-edge-quantizer"),
    "onnx": ("tf2onnx", "onnx", "onnxruntime"),
}
MIXED = (1, 2, 4, 8, 16)  # layers kept in float32, until the file passes
EXPLAINED = 32  # photos that the noise of each layer is measured on


@dataclass(frozen=True)
class Job:
    """Photos travel as files in `folder`: inputs.npy, targets.npy and perhaps groups.npy to verify on, calibration.npy."""

    checkpoint: Path
    card: ModelCard
    folder: Path
    files: tuple[tuple[str, str], ...]  # precision and format of each
    statistics: (
        Statistics | None
    )  # that the checkpoint carries; None to measure them on calibration.npy
    answers: tuple[str, ...]  # what the targets number: labels or groups
    limits: Mapping[str, Limits]  # by precision
    io: str = "uint8"  # or int8: input and output of int8 TFLite files
    mixed: bool = False
    explain: bool = False


@dataclass(frozen=True)
class Built:
    """One file, PRECISION.FORMAT in the job's folder."""

    verification: Verification
    shortfalls: list[str]  # where it falls short of the limits, in words
    latency_ms: float  # median of one photo, one thread, on this machine
    strategy: str = ""  # of int8
    float_layers: tuple[str, ...] = ()  # that --mixed kept in float32
    noise: Mapping[str, tuple[float, float | None]] = field(
        default_factory=dict
    )  # dB of each layer: alone, and in the file


@dataclass(frozen=True)
class _Way:
    """One way to make an int8 file."""

    strategy: str
    folded: keras.Model  # its biases corrected for what rounding the weights does
    ranges: Ranges
    float_layers: tuple[str, ...] = ()


class _Source:
    """The model and what is known of it."""

    def __init__(self, job: Job, said: Said) -> None:
        from edgecat_export import checkpoint, fold
        from edgecat_export.made_inputs import made_inputs

        said.put("loading the checkpoint")
        self.job, self.said = job, said
        model, self.card = checkpoint.load(job.checkpoint)
        self.folded = fold.fold_batch_normalization(model)
        self.inputs: Pixels
        self.targets: npt.NDArray[np.int64] | None = None
        if (job.folder / "inputs.npy").exists():
            self.inputs, self.targets = (
                np.load(job.folder / "inputs.npy", mmap_mode="r"),
                np.load(job.folder / "targets.npy"),
            )
        else:
            said.put("making inputs to verify on")
            self.inputs = made_inputs(self.folded, self.card.input)
        self.groups = (
            np.load(job.folder / "groups.npy") if (job.folder / "groups.npy").exists() else None
        )
        self.reference = np.concatenate(
            [model.predict_on_batch(batch) for batch in self._batches(self.inputs)]
        )

    def _batches(self, pixels: Pixels) -> Iterator[npt.NDArray[np.float32]]:
        return (normalise(pixels[i : i + 16], self.card.input) for i in range(0, len(pixels), 16))

    @cached_property
    def observed(self) -> Mapping[str, Outputs]:
        """What each layer puts out on the calibration photos; without, on the inputs to verify on, which is enough to explain."""
        from edgecat_export.calibrate import observe

        self.said.put("calibrating")
        file = self.job.folder / "calibration.npy"
        return observe(
            self.folded,
            self._batches(np.load(file, mmap_mode="r") if file.exists() else self.inputs),
        )

    def ways(self) -> Iterator[_Way]:
        """From the plainest on."""
        from edgecat_export.calibrate import STRATEGIES, correct_biases
        from edgecat_export.explain import noise

        carried = self.job.statistics
        means = (
            carried.means
            if carried
            else {name: outputs.means for name, outputs in self.observed.items()}
        )
        corrected = correct_biases(self.folded, means)
        if carried:
            way = _Way(STRATEGIES[0].says, corrected, carried.ranges)
            yield way
        else:
            for strategy in STRATEGIES:
                way = _Way(
                    strategy.says,
                    corrected,
                    strategy.ranges(self.folded, self.observed, self.card.input),
                )
                yield way
        if self.job.mixed:
            harmful = list(noise(way.folded, self.observed, way.ranges, self.explained))
            for layers in (tuple(harmful[:count]) for count in MIXED):
                yield dataclasses.replace(
                    way, folded=correct_biases(self.folded, means, but=layers), float_layers=layers
                )

    @property
    def explained(self) -> npt.NDArray[np.float32]:
        return normalise(self.inputs[:EXPLAINED], self.card.input)

    def describe(self, file: Path, way: _Way) -> dict[str, tuple[float, float | None]]:
        from edgecat_export.explain import noise, noise_in_tflite

        self.said.put(f"looking into {file.name}")
        inside = (
            noise_in_tflite(file, way.folded, self.explained) if file.suffix == ".tflite" else {}
        )
        alone = noise(way.folded, self.observed, way.ranges, self.explained)
        return {layer: (ratio, inside.get(layer)) for layer, ratio in alone.items()}


def build(job: Job, said: Said) -> list[Built]:
    """Write PRECISION.FORMAT with card and metadata for each file of the job."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()  # the same checkpoint gives the same bytes
    source = _Source(job, said)
    return [
        _int8(source, kind) if precision == "int8" else _float(source, precision, kind)
        for precision, kind in job.files
    ]


def _float(source: _Source, precision: str, kind: str) -> Built:
    from edgecat_export import convert, quantise

    source.said.put(f"converting to {precision} {kind}")
    if kind == "tflite":
        converted = convert.to_tflite(source.folded, precision)
        quantise.assert_float_tflite(converted)
    else:
        converted = convert.to_onnx(source.folded, precision)
        quantise.assert_float_onnx(converted, precision)
    return _prove(source, converted, precision, kind, {})


def _int8(source: _Source, kind: str) -> Built:
    """By the first way that passes, or else the last."""
    from edgecat_export import convert, quantise

    for way in source.ways():
        source.said.put(f"converting to int8 {kind}")
        if kind == "tflite":
            converted = quantise.tflite_int8(
                convert.to_tflite(way.folded, "fp32"), way.ranges, source.job.io, way.float_layers
            )
        else:
            converted = quantise.onnx_int8(
                convert.to_onnx(way.folded, "fp32"), way.ranges, way.float_layers
            )
        how = (
            f"{way.strategy}, {len(way.float_layers)} layers in float32"
            if way.float_layers
            else way.strategy
        )
        calibration = {**source.job.card.calibration, "strategy": way.strategy}
        if way.float_layers:
            calibration["float_layers"] = list(way.float_layers)
        built = _prove(source, converted, "int8", kind, calibration)
        built = dataclasses.replace(built, strategy=how, float_layers=way.float_layers)
        if not built.shortfalls:
            break
        source.said.put(f"int8 {kind} with {how} falls short: {'; '.join(built.shortfalls)}")
    if source.job.explain:
        return dataclasses.replace(
            built, noise=source.describe(source.job.folder / f"int8.{kind}", way)
        )
    return built


def _prove(
    source: _Source, converted: bytes, precision: str, kind: str, calibration: Mapping[str, Any]
) -> Built:
    """Write the file, describing itself, and verify it as written."""
    from edgecat_export import metadata

    job = source.job
    with_metadata = {"tflite": metadata.with_tflite_metadata, "onnx": metadata.with_onnx_metadata}[
        kind
    ]
    made_by = {
        **job.card.made_by,
        "command": f"{job.card.made_by['command']} --{precision} --format {kind}",
    }
    card = dataclasses.replace(
        job.card,
        precision=precision,
        calibration=calibration,
        versions=_versions(kind),
        made_by=made_by,
    )
    described = with_metadata(converted, card)
    file = job.folder / f"{precision}.{kind}"
    file.write_bytes(write_card(described, card))
    source.said.put(f"verifying {precision} {kind}")
    verification = verify(
        file, source.inputs, source.reference, source.targets, source.groups, job.answers
    )
    file.write_bytes(
        write_card(described, dataclasses.replace(card, verification=verification.record()))
    )
    return Built(
        verification,
        verification.shortfalls(job.limits[precision]),
        median_latency_ms(file, source.inputs[0]),
    )


def _versions(kind: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    from edgecat_export.convert import ONNX_OPSET

    found = {}
    for tool in ("edgecat", "keras", *_TOOLS[kind]):
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:  # one of the two TensorFlows
            continue
    return found | ({"opset": str(ONNX_OPSET)} if kind == "onnx" else {})
