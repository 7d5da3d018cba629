"""The folder of a training run, which a killed run goes on from."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from edgecat.errors import DataError
from edgecat.files import whole_file
from edgecat.report.plots import draw_history
from edgecat_export.training.options import Options

_FILES = {  # what a run writes and the user may have a file of the same name
    "evaluation.json",
    "labels.txt",
    "history.csv",
    "curves.png",
    "training.json",
    "model-fp32.tflite",
}


@dataclass
class RunFolder:
    """A run folder and the history of its epochs.

    model.keras         the best checkpoint: labels, input recipe and origin inside
    model-fp32.tflite   the same as a device runs it, verified
    evaluation.json     the answers of this file on the validation photos
    labels.txt          one label a line
    history.csv         one row an epoch: losses, accuracy of each class, seconds
    curves.png          the same, drawn
    training.json       the options, the photos per class and their digest
    last.keras          the state that --resume starts from
    start.weights.h5    the weights before fine-tuning; removed in the end
    """

    path: Path
    history: list[dict[str, float]] = field(default_factory=list)
    base: str = ""  # digest of the frozen network, which last.keras leaves out

    @property
    def checkpoint(self) -> Path:
        return self.path / "model.keras"

    @property
    def state(self) -> Path:
        return self.path / "last.keras"

    @property
    def start_weights(self) -> Path:
        return self.path / "start.weights.h5"

    def create(self) -> None:
        """Create the folder. Raise DataError if it cannot be, or holds files of someone else."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            there = {entry.name for entry in self.path.iterdir()}
        except OSError as error:
            raise DataError(
                f"{self.path}: cannot be made ({error.strerror}); give another --out"
            ) from None
        if not there & _FILES:
            return
        try:
            self.read_options()  # a run that was stopped in its first epoch
        except DataError:
            raise DataError(
                f"{self.path}: holds {min(there & _FILES)}, which 'edgecat train' did not write; "
                "give another --out"
            ) from None

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file whole or not at all."""
        with whole_file(self.path / name) as part:
            part.write_bytes(content.encode() if isinstance(content, str) else content)

    def write_options(self, options: Options, data: Mapping[str, Any] | None = None) -> None:
        """Write training.json; `data` describes the photos once they are known."""
        record: dict[str, Any] = {"training": dataclasses.asdict(options)}
        if data is not None:
            record["data"] = data
        self.write("training.json", json.dumps(record, indent=1))

    def read_options(self) -> Options:
        """Return the options of the run. Raise DataError if there is none."""
        try:
            record = json.loads((self.path / "training.json").read_text())["training"]
            fields: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in record.items()
            }
            return Options(**fields)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise DataError(
                f"{self.path}: no run to resume; expected a folder that 'edgecat train' has written"
            ) from None

    def save_state(self, network: keras.Model) -> None:
        """Save weights, optimiser and history in one file, so that they fit each other."""
        temporary = self.path / ".part.last.keras"
        network.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr("history.json", json.dumps(self.history))
            archive.writestr("base.txt", self.base)
        os.replace(temporary, self.state)

    def read_history(self) -> None:
        """Read the epochs that `save_state` or, after the last one, `write_history` wrote."""
        table = self.path / "history.csv"
        try:
            if self.state.exists():
                with zipfile.ZipFile(self.state) as archive:
                    self.history = json.loads(archive.read("history.json"))
                    self.base = archive.read("base.txt").decode()
            elif table.exists():  # complete: last.keras was removed
                with table.open(newline="") as file:
                    self.history = [
                        {key: float(value) for key, value in row.items()}
                        for row in csv.DictReader(file)
                    ]
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{self.path}: damaged, its epochs cannot be read ({error}); "
                "train again with another --out"
            ) from None

    def write_history(self) -> None:
        """Write history.csv and curves.png."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.history[0])
        writer.writeheader()
        writer.writerows(self.history)
        self.write("history.csv", text.getvalue())
        image = io.BytesIO()
        draw_history(self.history, 2).savefig(image, format="png", dpi=100)
        self.write("curves.png", image.getvalue())
