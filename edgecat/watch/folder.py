"""Frames from a folder that photos come into.

The folder is listed again and again: network file systems report no changes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from edgecat.errors import EdgecatError, PhotoError
from edgecat.photo import SUFFIXES, Pixels
from edgecat.watch.frame import Frame

SETTLE = 0.5  # seconds without a change before a new photo is read: it may still be written
PATIENCE = 5.0  # seconds after which a photo that cannot be read is reported as broken
BUSY = 0.1  # largest share of the time that listing the folder may take


def new_photos(
    folder: str | os.PathLike[str],
    read: Callable[[str], Pixels],
    *,
    every: float = 0.5,
    recursive: bool = False,
    on_error: Callable[[PhotoError], None] | None = None,
) -> Iterator[Frame | None]:
    """Photos that come into `folder` from now on, or change there, oldest first; None after each look, `every` seconds.

    A photo is read with `read`, such as Classifier.pixels, once it stays as it is. One that cannot be read raises PhotoError, or
    is handed to `on_error`. Raises EdgecatError where the folder goes away.
    """
    known = _look(folder, recursive)
    waiting: dict[str, tuple[_State, float]] = {}  # path -> how it is, and since when
    while True:
        now = time.monotonic()
        there = _look(folder, recursive)
        took = time.monotonic() - now
        known = {path: state for path, state in known.items() if path in there}
        waiting = {
            path: waiting[path] if path in waiting and waiting[path][0] == state else (state, now)
            for path, state in there.items()
            if known.get(path) != state
        }
        for path, (state, since) in sorted(waiting.items(), key=lambda item: (item[1][0], item[0])):
            if now - since < SETTLE:
                continue
            try:
                pixels = read(path)
            except PhotoError as error:
                if now - since < PATIENCE:
                    continue
                if on_error is None:
                    raise
                on_error(error)
            else:
                yield Frame(path, pixels, time.monotonic(), Path(path))
            known[path] = state
        yield None
        time.sleep(max(every, took / BUSY, 0.01))


class _State(NamedTuple):
    """What tells that a file is another than before."""

    modified: int  # nanoseconds
    size: int  # bytes
    inode: int


def _look(folder: str | os.PathLike[str], recursive: bool) -> dict[str, _State]:
    try:
        return dict(_photos(os.fspath(folder), recursive))
    except (FileNotFoundError, NotADirectoryError):
        raise EdgecatError(
            f"{folder}: no such folder; it was removed, or its drive is not there"
        ) from None
    except OSError as error:
        raise EdgecatError(
            f"{error.filename or folder}: cannot be looked through ({error.strerror})"
        ) from None


def _photos(folder: str, recursive: bool) -> Iterator[tuple[str, _State]]:
    """As photo.find_photos, with what scandir knows already: this runs twice a second for months."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if recursive and entry.is_dir(follow_symlinks=False):
                    yield from _photos(entry.path, recursive)
                elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():
                    found = entry.stat()
                    yield entry.path, _State(found.st_mtime_ns, found.st_size, found.st_ino)
            except FileNotFoundError:  # went away meanwhile
                continue
