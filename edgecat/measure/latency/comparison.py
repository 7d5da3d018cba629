"""Read files of records, and compare the records of the same configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecat.errors import DataError
from edgecat.measure.json_lines import read_json_lines
from edgecat.measure.latency.record import FORMAT_VERSION, Record

# What two records must share to be compared.
CONFIGURATION = ("model", "precision", "device", "num_threads", "batch")
_BOARD = ("board", "processor", "cores", "machine")
_EXPECTED = "the output of: edgecat bench --json"


def read_records(path: Path) -> list[Record]:
    """Return the records of `edgecat bench --json` or --out, one a line. Raise DataError."""
    records = []
    for number, record in read_json_lines(path, _EXPECTED):
        try:
            format_version = record["format_version"]
            complete = isinstance(record["latency"]["median_ms"], (int, float))
        except (TypeError, KeyError):
            raise DataError(
                f"{path}, line {number}: no record of a benchmark; expected {_EXPECTED}"
            ) from None
        if format_version != FORMAT_VERSION or not complete:
            raise DataError(
                f"{path}, line {number}: format version {format_version}, expected "
                f"{FORMAT_VERSION}; measure again, or use the edgecat that wrote it"
            )
        records.append(record)
    return records


def same_board(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two records were measured on machines with the same description."""
    boards = one.get("board", {}), other.get("board", {})
    return all(boards[0].get(key) == boards[1].get(key) for key in _BOARD)


def pair_records(before: Sequence[Record], after: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Return the records of the same configuration, in the order of `before`.

    Raise DataError if there are none.
    """
    later = {_configuration(record): record for record in after}
    pairs = [
        (record, later[_configuration(record)])
        for record in before
        if _configuration(record) in later
    ]
    if not pairs:
        raise DataError(
            "no configuration is in both files; "
            "expected the same model, precision, device, threads and batch in each"
        )
    return pairs


def _configuration(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(record.get(key) for key in CONFIGURATION)


def compare(one: Record, other: Record) -> Record:
    """Return the medians of two records, before and after, and their ratios."""

    def both(part: str, key: str) -> tuple[float | None, float | None]:
        return one.get(part, {}).get(key), other.get(part, {}).get(key)

    medians = {
        "engine": both("latency", "median_ms"),
        "photo_to_answer": both("photo_to_answer", "median_ms"),
        "cold": both("cold", "total_ms"),
    }
    ratios = {name: round(new / old, 4) for name, (old, new) in medians.items() if old and new}
    return {
        **{key: other[key] for key in CONFIGURATION},
        "median_ms": medians,
        "ratio": ratios,
        "same_board": same_board(one, other),
    }
