"""Records of `edgecat evaluate --json`: one system each, checked as they are read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgecat.errors import DataError

Record = Mapping[str, Any]  # one line of `edgecat evaluate --json`

BINS = 20  # of the confidence histograms
_EXPECTED = "the output of: edgecat evaluate DATA --json"

# The shape of a record. int: a whole number; float: a number from 0 to 1; [x]: a list of x;
# (x, y): a list of these two; {str: x}: an object whose values are x.
_ACCURACY = {"photos": int, "accuracy": float, "accuracy_interval": (float, float)}
_CLASS = {
    **_ACCURACY,
    "answers": {str: int},
    "mean_confidence": float,
    "confidence_histogram": (int,) * BINS,
}
_RECORD = {
    "model": str,
    "engine": str,
    "data": [str],
    "command": str,
    **_ACCURACY,
    "balanced_accuracy": float,
    "calibration_error": float,
    "classes": {str: _CLASS},
    "mistakes": int,
    "worst": [{"photo": str, "label": str, "answer": str, "score": float}],
}
_KINDS = {str: "text", int: "a whole number", float: "a number from 0 to 1"}


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records in a file, one a line.

    Raise DataError, with the line's number if a line is no record.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise DataError(f"{path}: {reason}; expected {_EXPECTED}") from None
    if not any(map(str.strip, lines)):
        raise DataError(f"{path}: empty; expected {_EXPECTED}")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            misfit = _misfit_of_record(record)
        except json.JSONDecodeError as error:
            misfit = f"not JSON ({error.msg})"
        if misfit:
            raise DataError(f"{path}, line {number}: {misfit}; expected {_EXPECTED}")
        yield record


def _misfit_of_record(record: Any) -> str | None:
    """Return what is wrong with a record; None if nothing is."""
    misfit = _misfit(record, _RECORD, "")
    if misfit is None:
        misfit = _misfit(record.get("file_bytes") or 0, int, "file_bytes")
    if misfit is None and record.get("ways") is not None:
        shares = dict.fromkeys(record["classes"], float)
        misfit = _misfit(record["ways"], {str: shares}, "ways")
    return misfit


def _misfit(value: Any, shape: Any, where: str) -> str | None:
    """Return how `value` differs from `shape`; None if it does not."""
    if isinstance(shape, dict):
        return _misfit_of_object(value, shape, where)
    if isinstance(shape, (list, tuple)):
        return _misfit_of_list(value, shape, where)
    if shape is str:
        fits = isinstance(value, str)
    else:
        most = 1 if shape is float else math.inf
        fits = type(value) in (int, shape) and 0 <= value <= most
    return None if fits else f"'{where}' is not {_KINDS[shape]}"


def _misfit_of_object(value: Any, shape: Mapping[Any, Any], where: str) -> str | None:
    if not isinstance(value, dict) or not value:
        return f"'{where}' is no object" if where else "no JSON object"
    shapes = dict.fromkeys(value, shape[str]) if str in shape else shape
    for key, part in shapes.items():
        misfit = _misfit(value[key], part, key) if key in value else f"no '{key}'"
        if misfit:
            return misfit
    return None


def _misfit_of_list(value: Any, shape: Any, where: str) -> str | None:
    fixed = isinstance(shape, tuple)
    if not isinstance(value, list) or (fixed and len(value) != len(shape)):
        return f"'{where}' is no list" + (f" of {len(shape)}" if fixed else "")
    for item in value:
        misfit = _misfit(item, shape[0], where)
        if misfit:
            return misfit
    return None
