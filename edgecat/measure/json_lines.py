"""Read files of JSON lines: one object a line, as `--json` prints them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgecat.errors import DataError


def read_json_lines(path: Path, expected: str) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each line that is not blank.

    `expected` says what the file should be, as "the output of: edgecat bench --json". Raise
    DataError if the file cannot be read, has no lines, or a line is not JSON.
    """
    try:
        # Not splitlines, which also splits at characters that JSON text may hold, such as U+2028.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise DataError(f"{path}: {reason}; expected {expected}") from None
    if not any(line.strip() for line in lines):
        raise DataError(f"{path}: empty; expected {expected}")
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                value = json.loads(line)
            except ValueError as error:
                reason = getattr(error, "msg", error)
                raise DataError(
                    f"{path}, line {number}: not JSON ({reason}); expected {expected}"
                ) from None
            yield number, value
