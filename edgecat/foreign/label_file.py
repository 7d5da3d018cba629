"""Label files: the labels of a model, in the order of its outputs."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgecat.errors import ModelError

# "0 cat" or "0: cat", as Coral and Teachable Machine write them.
_NUMBERED = r"\s*(\d+)(?:\s*:\s*|\s+)(\S.*)"


def read_labels(
    given: str | os.PathLike[str] | Sequence[str], source: str = "labels"
) -> tuple[str, ...]:
    """Return the labels of a file, of "cat,dog,neither" or of a sequence. Raise ModelError."""
    if not isinstance(given, (str, os.PathLike)):
        return _number_duplicates(tuple(given), source)
    path = Path(given)
    if isinstance(given, str) and "," in given and not path.exists():
        return _number_duplicates(tuple(label.strip() for label in given.split(",")), source)
    try:
        return parse_labels(path.read_bytes(), str(path))
    except OSError as error:
        why = (
            "no such label file; expected a file, or labels with commas between"
            if isinstance(error, FileNotFoundError)
            else error.strerror
        )
        raise ModelError(f"{path}: {why}") from None


def parse_labels(content: bytes, source: str) -> tuple[str, ...]:
    """Return the labels in a label file. Raise ModelError.

    A line is a label, `0 cat` or `0:cat`; or the file is JSON as Keras and Hugging Face write it.
    """
    try:
        text = content.decode("utf-8-sig").strip()
        record = json.loads(text) if text.startswith(("{", "[")) else None
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise ModelError(
            f"{source}: not a label file; expected UTF-8 text with one label a line, or JSON"
        ) from None
    if record is not None:
        return _number_duplicates(labels_of_json(record, source), source)
    lines = [line.strip() for line in text.splitlines()]
    numbered = [re.fullmatch(_NUMBERED, line) for line in lines]
    pairs = [(int(match[1]), match[2]) for match in numbered if match]
    # Without a 0, numbered lines may be names: 1 euro, 2 euro.
    if len(pairs) == len(lines) and any(number == 0 for number, _ in pairs):
        return _number_duplicates(_in_order(pairs, source), source)
    return _number_duplicates(tuple(lines), source)


def labels_of_json(record: Any, source: str) -> tuple[str, ...]:
    """Return the labels of JSON data. Raise ModelError.

    Accepts ["cat", "dog"], {"0": "cat"}, {"cat": 0}, {"0": ["n02123045", "tabby"]}, or any of
    them as the entry id2label or label_names.
    """
    try:
        if isinstance(record, dict):
            record = record.get("id2label") or record.get("label_names") or record
        if isinstance(record, (list, tuple)):
            return tuple(map(str, record))
        if all(isinstance(value, int) for value in record.values()):
            return _in_order([(value, key) for key, value in record.items()], source)
        return _in_order(
            [
                (int(key), value[-1] if isinstance(value, list) else str(value))
                for key, value in record.items()
            ],
            source,
        )
    except (AttributeError, ValueError, TypeError, IndexError):
        raise ModelError(
            f'{source}: expected a list of labels, {{"0": "cat", "1": "dog"}} or {{"id2label": …}}'
        ) from None


def _in_order(pairs: Sequence[tuple[int, str]], source: str) -> tuple[str, ...]:
    labels = dict(pairs)
    absent = next((number for number in range(len(pairs)) if number not in labels), None)
    if absent is not None:
        raise ModelError(
            f"{source}: no label {absent}; expected one for each output, from 0 to {len(pairs) - 1}"
        )
    return tuple(labels[number] for number in range(len(labels)))


def _number_duplicates(labels: tuple[str, ...], source: str) -> tuple[str, ...]:
    """Return labels with a number behind repeated ones: ImageNet has two classes `crane`.

    Raise ModelError if a label is empty, or if there are fewer than two.
    """
    if not all(labels) or len(labels) < 2:
        fault = "an empty label" if len(labels) > 1 else "fewer than two labels"
        raise ModelError(f"{source}: {fault}; expected one label for each of the model's outputs")
    times: Counter[str] = Counter()
    unique = []
    for label in labels:
        times[label] += 1
        unique.append(label if times[label] == 1 else f"{label} ({times[label]})")
    return tuple(unique)
