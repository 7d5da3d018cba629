"""The work of the child process: load Keras, convert, quantise, verify."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edgecat.errors import EdgecatError
from edgecat.formats import write_card
from edgecat.photo import Pixels
from edgecat_export import checkpoint
from edgecat_export.formats import FORMATS
from edgecat_export.job import Built, Job
from edgecat_export.networks.fold import fold_batch_normalization
from edgecat_export.quantisation.bias_correction import correct_biases
from edgecat_export.quantisation.layer_noise import layer_noise
from edgecat_export.quantisation.observation import Array, Outputs, observe
from edgecat_export.quantisation.ranges import STRATEGIES, candidates
from edgecat_export.quantisation.statistics import Ranges
from edgecat_export.synthetic_inputs import synthetic_inputs
from edgecat_export.verify import median_latency_ms, verify
from edgecat_export.worker import Messages, in_words

MIXED = (1, 2, 4, 8, 16)  # layers kept in float32, until the file passes
EXPLAINED = 32  # photos that the noise of each layer is measured on
BATCH = 16


@dataclass(frozen=True)
class _Candidate:
    """An int8 model before its conversion."""

    strategy: str
    folded: keras.Model  # with corrected biases
    ranges: Ranges
    float_layers: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        if not self.float_layers:
            return self.strategy
        return f"{self.strategy}, {len(self.float_layers)} layers in float32"


class _Source:
    """The Keras model, its inputs, and its scores on them."""

    def __init__(self, job: Job, messages: Messages) -> None:
        messages.put("loading the checkpoint")
        self.job, self.messages = job, messages
        model, self.card = checkpoint.load(job.checkpoint)
        self.folded = fold_batch_normalization(model)
        self.inputs: Pixels
        self.targets: npt.NDArray[np.int64] | None = None
        self.groups: npt.NDArray[np.int64] | None = None
        if (job.folder / "inputs.npy").exists():
            self.inputs = np.load(job.folder / "inputs.npy", mmap_mode="r")
            self.targets = np.load(job.folder / "targets.npy")
        else:
            messages.put("making inputs to verify on")
            self.inputs = synthetic_inputs(self.folded, self.card.input)
        if (job.folder / "groups.npy").exists():
            self.groups = np.load(job.folder / "groups.npy")
        scores = [model.predict_on_batch(batch) for batch in self._batches(self.inputs)]
        self.reference = np.concatenate(scores)

    def _batches(self, pixels: Pixels) -> Iterator[Array]:
        for start in range(0, len(pixels), BATCH):
            yield self.card.input.normalise(pixels[start : start + BATCH])

    @cached_property
    def observed(self) -> Mapping[str, Outputs]:
        """The outputs of each layer on the calibration photos.

        Without photos, on the inputs to verify on, which is enough to explain.
        """
        self.messages.put("calibrating")
        file = self.job.folder / "calibration.npy"
        pixels = np.load(file, mmap_mode="r") if file.exists() else self.inputs
        return observe(self.folded, self._batches(pixels))

    def candidates(self) -> Iterator[_Candidate]:
        """Yield int8 models, the plainest first."""
        statistics = self.job.statistics
        means: Mapping[str, Any]
        if statistics is not None:
            means = statistics.means
            corrected = correct_biases(self.folded, means)
            candidate = _Candidate(STRATEGIES[0].name, corrected, statistics.ranges)
            yield candidate
        else:
            means = {name: outputs.means for name, outputs in self.observed.items()}
            corrected = correct_biases(self.folded, means)
            for strategy, ranges in candidates(self.folded, self.observed, self.card.input):
                candidate = _Candidate(strategy, corrected, ranges)
                yield candidate
        if self.job.mixed:
            noisiest = tuple(self.noise_alone(candidate))
            for count in MIXED:
                layers = noisiest[:count]
                folded = correct_biases(self.folded, means, layers)
                yield dataclasses.replace(candidate, folded=folded, float_layers=layers)

    @property
    def explained(self) -> Array:
        """The photos that noise is measured on, normalised."""
        return self.card.input.normalise(self.inputs[:EXPLAINED])

    def noise_alone(self, candidate: _Candidate) -> dict[str, float]:
        """Return the noise of each layer if it alone were int8, the worst first."""
        return layer_noise(candidate.folded, self.observed, candidate.ranges, self.explained)

    def noise(
        self, file: Path, kind: str, candidate: _Candidate
    ) -> dict[str, tuple[float, float | None]]:
        """Return the noise of each layer, alone and in the file."""
        self.messages.put(f"looking into {file.name}")
        inside = FORMATS[kind].converter().layer_noise(file, candidate.folded, self.explained)
        alone = self.noise_alone(candidate)
        return {layer: (ratio, inside.get(layer)) for layer, ratio in alone.items()}


def build(job: Job, messages: Messages) -> list[Built | EdgecatError]:
    """Write PRECISION.FORMAT with card and metadata for each file of the job.

    The list has an error in the place of each file that could not be made.
    """
    tf.config.experimental.enable_op_determinism()  # the same checkpoint gives the same bytes
    source = _Source(job, messages)
    results: list[Built | EdgecatError] = []
    for precision, kind in job.files:
        try:
            make = _int8 if precision == "int8" else _float
            results.append(make(source, precision, kind))
        except ModuleNotFoundError:
            raise
        except Exception as error:  # converters raise all kinds
            results.append(in_words(error, messages.last, str(job.folder.parent)))
    return results


def _float(source: _Source, precision: str, kind: str) -> Built:
    source.messages.put(f"converting to {precision} {kind}")
    converted = FORMATS[kind].converter().to_float(source.folded, precision)
    return _verified(source, converted, precision, kind, {})


def _int8(source: _Source, precision: str, kind: str) -> Built:
    """Return the first candidate that passes, or else the last."""
    job, messages, converter = source.job, source.messages, FORMATS[kind].converter()
    for candidate in source.candidates():
        messages.put(f"converting to int8 {kind}")
        layers = candidate.float_layers
        converted = converter.to_int8(candidate.folded, candidate.ranges, job.io, layers)
        calibration = {**job.card.calibration, "strategy": candidate.strategy}
        if layers:
            calibration["float_layers"] = list(layers)
        built = _verified(source, converted, precision, kind, calibration)
        how = candidate.description
        built = dataclasses.replace(built, strategy=how, float_layers=layers)
        if not built.shortfalls:
            break
        messages.put(f"int8 {kind} with {how} falls short: {'; '.join(built.shortfalls)}")
    if job.explain:
        noise = source.noise(job.folder / f"int8.{kind}", kind, candidate)
        return dataclasses.replace(built, noise=noise)
    return built


def _verified(
    source: _Source, converted: bytes, precision: str, kind: str, calibration: Mapping[str, Any]
) -> Built:
    """Write the file with its card, and verify it as written."""
    job, format_ = source.job, FORMATS[kind]
    command = f"{job.card.made_by['command']} --{precision} --format {kind}"
    card = dataclasses.replace(
        job.card,
        precision=precision,
        calibration=calibration,
        versions=format_.versions(),
        made_by={**job.card.made_by, "command": command},
    )
    described = format_.converter().describe(converted, card)
    file = job.folder / f"{precision}.{kind}"
    file.write_bytes(write_card(described, card))
    source.messages.put(f"verifying {precision} {kind}")
    verification = verify(
        file, source.inputs, source.reference, source.targets, source.groups, job.answers
    )
    verified = dataclasses.replace(card, verification=verification.record())
    file.write_bytes(write_card(described, verified))
    return Built(
        verification,
        verification.shortfalls(job.limits[precision]),
        median_latency_ms(file, source.inputs[0]),
    )
