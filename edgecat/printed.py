"""What libraries print from C++, past Python."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_KEPT = 65536  # bytes; a pipe holds no more, and what comes after is lost


@contextmanager
def printed_by_libraries() -> Iterator[list[str]]:
    """Yield a list of the lines that C++ prints to standard error; it is complete at the end.

    Python's own lines go to standard error as always.
    """
    lines: list[str] = []
    earlier = sys.stderr
    terminal = os.dup(2)
    reading, writing = os.pipe()
    # A full pipe would block the library; a pipe that a child keeps open would block us.
    for end in (reading, writing):
        os.set_blocking(end, False)
    os.dup2(writing, 2)
    os.close(writing)
    own = sys.__stderr__
    if own is not None and earlier is own:  # else Python's lines go elsewhere already
        sys.stderr = io.TextIOWrapper(
            io.FileIO(terminal, "w", closefd=False),
            own.encoding,
            "backslashreplace",
            write_through=True,
        )
    try:
        yield lines
    finally:
        sys.stderr = earlier
        os.dup2(terminal, 2)
        os.close(terminal)
        with suppress(BlockingIOError):
            lines += os.read(reading, _KEPT).decode(errors="replace").splitlines()
        os.close(reading)
