"""Training histories, as `edgecat train` writes them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

from edgecat.card import typed
from edgecat.errors import DataError

_EXPECTED = "expected a run folder of edgecat train, or the history.csv in it"
_COLUMNS = {"epoch", "training_loss", "validation_loss", "accuracy"}


class History(NamedTuple):
    """The epochs of a training run."""

    name: str  # of the run folder
    rows: list[dict[str, float]]  # one an epoch: losses and accuracies
    source: str  # data and command, as far as the run folder states them


def read_history(path: Path) -> History:
    """Read a run folder of `edgecat train`, or the history.csv in it. Raise DataError."""
    path = path / "history.csv" if path.is_dir() else path
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [
                {key: float(value) for key, value in row.items()} for row in csv.DictReader(file)
            ]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; {_EXPECTED}") from None
    except (ValueError, TypeError, csv.Error):
        rows = []
    if not rows or not rows[0].keys() >= _COLUMNS:
        raise DataError(f"{path}: no training history; {_EXPECTED}")
    return History(path.resolve().parent.name, rows, _source(path.with_name("training.json")))


def _source(path: Path) -> str:
    """Return the number of photos and the command that training.json states."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return f"{sum(record['data']['photos'].values()):,} photos, {_command(record['training'])}"
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return "history.csv alone, without the training.json that tells its data"


def _command(training: dict[str, Any]) -> str:
    options = dict(training)
    words = ["edgecat", "train", options.pop("architecture"), *options.pop("data")]
    for name, value in options.items():
        for item in value if isinstance(value, list) else [value]:
            if item is not None:
                words += [f"--{name.replace('_', '-')}", str(item)]
    return typed(words)
