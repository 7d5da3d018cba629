"""A job: what one export asks of the child process, and what it returns. Needs no Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgecat.card import ModelCard
from edgecat_export.quantisation.statistics import Statistics
from edgecat_export.verify import Limits, Verification


@dataclass(frozen=True)
class Job:
    """The files to make, and the limits that each has to keep.

    Photos travel as files in `folder`: inputs.npy, targets.npy and perhaps groups.npy to verify
    on, calibration.npy.
    """

    checkpoint: Path
    card: ModelCard
    folder: Path
    files: tuple[tuple[str, str], ...]  # precision and format of each
    statistics: Statistics | None  # of the checkpoint; None: measure them on calibration.npy
    answers: tuple[str, ...]  # the labels or groups that the targets number
    limits: Mapping[str, Limits]  # by precision
    io: str = "uint8"  # or int8: input and output of int8 TFLite files
    mixed: bool = False  # may keep layers in float32 where int8 falls short
    explain: bool = False  # measure the noise of each layer


@dataclass(frozen=True)
class Built:
    """One file, PRECISION.FORMAT in the job's folder."""

    verification: Verification
    shortfalls: list[str]  # where it falls short of the limits, in words
    latency_ms: float  # median of one photo, one thread, on this machine
    strategy: str = ""  # of int8
    float_layers: tuple[str, ...] = ()  # that stayed in float32
    # dB of each layer: alone, and in the file with all before it
    noise: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
