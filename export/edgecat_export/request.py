"""The request for an export, and what becomes of each file. Needs no Keras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecat.foreign.description import Description
from edgecat_export.job import Built


@dataclass(frozen=True)
class Request:
    """What to export.

    With folders of photos in `data`, int8 is calibrated on some and every file verified on others.
    Without, int8 uses the statistics of the checkpoint, and files are verified on synthetic inputs.
    """

    checkpoint: Path
    out: Path
    precisions: Sequence[str]  # of fp32, fp16, int8
    formats: Sequence[str]  # of formats.FORMATS
    data: Sequence[str] = ()
    name: str | None = None  # of the model; None: that of the checkpoint
    force: bool = False  # overwrite files that edgecat did not make
    max_drop: float | None = None  # points of accuracy; None: the default of each precision
    min_agreement: float | None = None  # 0..1; likewise
    seed: int = 1  # decides which photos calibrate and which verify
    description: Description | None = None  # of a .keras file that edgecat did not train
    io: str = "uint8"  # or int8: input and output of int8 TFLite files
    mixed: bool = False  # may keep layers in float32 where int8 falls short
    explain: bool = False  # measure the noise that int8 adds in each layer


@dataclass(frozen=True)
class Exported:
    """One file of an export."""

    name: str
    path: Path | None  # None: not written
    bytes: int = 0
    built: Built | None = None  # None: it could not be made
    failure: str = ""  # why it could not be made or written

    @property
    def problems(self) -> list[str]:
        """Return why the file was not written, in words."""
        if self.failure:
            return [self.failure]
        shortfalls = self.built.shortfalls if self.built else ()
        return [f"{self.name}: not written: {shortfall}" for shortfall in shortfalls]
