"""One HTML page of the photos that were answered wrongly; it needs nothing beside it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from edgecat.errors import EdgecatError, PhotoError
from edgecat.measure.accuracy import Evaluation
from edgecat.report.images import thumbnail
from edgecat.report.template import template

THUMBNAIL = 240  # pixels of the longer side, at most
_MARK = '<meta name="generator" content="edgecat evaluate --gallery">'
_MARKED_WITHIN = 300  # bytes


def check_writable(path: Path, force: bool = False) -> None:
    """Raise EdgecatError if no page can, or may, be written to `path`.

    To be called before the long work. `force` allows to overwrite what is no such page.
    """
    if importlib.util.find_spec("jinja2") is None:
        raise EdgecatError(
            "a gallery needs 'jinja2'; install it with: pip install 'edgecat[plots]'"
        )
    if path.is_dir():
        raise EdgecatError(f"{path}: a folder, expected the name of a page")
    try:
        if path.exists() and not force and not _made_here(path):
            raise EdgecatError(
                f"{path}: exists and was not made by 'edgecat evaluate --gallery'; "
                "give --force to overwrite it, or another file"
            )
    except OSError as error:
        raise EdgecatError(
            f"{path}: cannot be written ({error.strerror}); give another file"
        ) from None
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise EdgecatError(
            f"{path}: cannot be written, '{path.parent}' is no folder that can be written to; "
            "give another file"
        )


def write_gallery(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """Write the worst mistakes of each evaluation with thumbnails, highest scores first.

    The page is written whole or not at all. Raise EdgecatError.
    """
    page = template("gallery.html.jinja")
    part = path.with_name(f".{path.name}.part")
    try:
        # Names of files need not be Unicode.
        with part.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(page.generate(mark=_MARK, evaluations=evaluations, image_of=_image_of))
        os.replace(part, path)
    except OSError as error:
        raise EdgecatError(
            f"{path}: cannot be written ({error.strerror}); give another file"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def _made_here(path: Path) -> bool:
    with path.open("rb") as file:
        return _MARK.encode() in file.read(_MARKED_WITHIN)


def _image_of(photo: str) -> str | None:
    try:
        return thumbnail(photo, THUMBNAIL)
    except PhotoError:  # removed since it was classified
        return None
