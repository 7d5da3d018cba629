"""Frames from photos that come into a folder.

The folder is listed at intervals, because network file systems report no changes.
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


class FileState(NamedTuple):
    """What differs if a file is replaced or changed."""

    modified: int  # nanoseconds
    size: int  # bytes
    inode: int


class Listing(NamedTuple):
    """The photos in a folder, and the entries that could not be looked at."""

    photos: dict[str, FileState]  # by path
    errors: dict[str, OSError]  # by path


def new_photos(
    folder: str | os.PathLike[str],
    read: Callable[[str], Pixels],
    *,
    every: float = 0.5,
    recursive: bool = False,
    on_error: Callable[[PhotoError], None] | None = None,
) -> Iterator[Frame | None]:
    """Yield photos that come into `folder` or change there, oldest first.

    Photos that are there at the start are not yielded. The folder is listed every `every`
    seconds; None follows the photos of each listing. A photo is read with `read`, such as
    Classifier.pixels, once it has not changed for a moment. A photo that cannot be read raises
    PhotoError or is passed to `on_error`; so is an entry that cannot be looked at.
    Raise EdgecatError if the folder itself disappears.
    """

    def report(error: PhotoError) -> None:
        if on_error is None:
            raise error
        on_error(error)

    known = list_photos(folder, recursive).photos
    waiting: dict[str, tuple[FileState, float]] = {}  # path -> its state, and since when
    reported: set[str] = set()  # paths of entries whose error was reported
    while True:
        now = time.monotonic()
        listing = list_photos(folder, recursive)
        took = time.monotonic() - now
        for path, failure in listing.errors.items():
            if path not in reported:
                report(PhotoError(f"{path}: cannot be looked at ({failure.strerror})"))
        reported = set(listing.errors)
        if not listing.errors:  # else a photo may only be out of sight
            known = {path: state for path, state in known.items() if path in listing.photos}
        waiting = {
            path: waiting[path] if path in waiting and waiting[path][0] == state else (state, now)
            for path, state in listing.photos.items()
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
                report(error)
            else:
                yield Frame(path, pixels, time.monotonic(), Path(path))
            known[path] = state
        yield None
        time.sleep(max(every, took / BUSY, 0.01))


def list_photos(folder: str | os.PathLike[str], recursive: bool) -> Listing:
    """List the photos in `folder`. Raise EdgecatError if it cannot be listed.

    Faster than photo.find_photos: scandir knows most, and this runs twice a second for months.
    """
    listing = Listing({}, {})
    try:
        _add_photos(os.fspath(folder), recursive, listing)
    except (FileNotFoundError, NotADirectoryError):
        raise EdgecatError(
            f"{folder}: no such folder; it was removed, or its drive is not there"
        ) from None
    except OSError as error:
        raise EdgecatError(f"{folder}: cannot be looked through ({error.strerror})") from None
    return listing


def _add_photos(folder: str, recursive: bool, listing: Listing) -> None:
    """Add a folder's photos to `listing`. Raise OSError if the folder itself cannot be listed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if recursive and entry.is_dir(follow_symlinks=False):
                    _add_photos(entry.path, recursive, listing)
                elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():
                    status = entry.stat()
                    listing.photos[entry.path] = FileState(
                        status.st_mtime_ns, status.st_size, status.st_ino
                    )
            except FileNotFoundError:  # removed meanwhile
                continue
            except OSError as error:  # such as a link to itself, or a folder without permission
                listing.errors[entry.path] = error
