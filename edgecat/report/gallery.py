"""One HTML page of the photos that were answered wrongly, which needs nothing beside it."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from edgecat.errors import EdgecatError, PhotoError
from edgecat.measure.accuracy import Evaluation, Mistake
from edgecat.photo import decode

THUMBNAIL = 240  # pixels of the longer side, at most
_MARK = '<meta name="generator" content="edgecat evaluate --gallery">'
_HEAD = f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
{_MARK}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Photos answered wrongly</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.4 system-ui, sans-serif; margin: 1rem auto; max-width: 80rem; padding: 0 1rem; }}
section > div {{ display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); }}
figure {{ margin: 0; }}
img {{ aspect-ratio: 1; background: #8884; border-radius: 4px; object-fit: contain; width: 100%; }}
small {{ display: block; opacity: .7; overflow-wrap: anywhere; }}
</style>
<h1>Photos answered wrongly</h1>
"""


def check_writable(path: Path, force: bool = False) -> None:
    """Whether a page may be written to `path`, to be asked before the long work. Raises EdgecatError."""
    if path.is_dir():
        raise EdgecatError(f"{path}: a folder, expected the name of a page")
    try:
        if path.exists() and not force and _MARK.encode() not in path.read_bytes()[: len(_HEAD)]:
            raise EdgecatError(
                f"{path}: exists and was not made by 'edgecat evaluate --gallery'; give --force to overwrite it, or another file"
            )
    except OSError as error:
        raise EdgecatError(
            f"{path}: cannot be written ({error.strerror}); give another file"
        ) from None
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise EdgecatError(
            f"{path}: cannot be written, '{path.parent}' is no folder that can be written to; give another file"
        )


def write_gallery(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """Write the worst mistakes of each evaluation with thumbnails, the surest first; whole or not at all. Raises EdgecatError."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open(
            "w", encoding="utf-8", errors="backslashreplace"
        ) as file:  # names of files need not be Unicode
            file.write(_HEAD)
            for evaluation in evaluations:
                file.writelines(_section(evaluation))
        os.replace(part, path)
    except OSError as error:
        raise EdgecatError(
            f"{path}: cannot be written ({error.strerror}); give another file"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def _section(evaluation: Evaluation) -> Iterator[str]:
    worst = evaluation.worst()
    few = f", the {len(worst)} with the highest scores" if len(worst) < evaluation.mistakes else ""
    yield f"<section>\n<h2>{escape(evaluation.model)}</h2>\n<p>{evaluation.mistakes} of {evaluation.photos()} photos{few}</p>\n<div>\n"
    yield from map(_figure, worst)
    yield "</div>\n</section>\n"


def _figure(mistake: Mistake) -> str:
    said = f"{escape(mistake.label)}, answered <b>{escape(mistake.answer)}</b> {mistake.score:.1%}"
    return f"<figure>{_image(mistake.photo)}<figcaption>{said}<small>{escape(mistake.photo)}</small></figcaption></figure>\n"


def _image(photo: str) -> str:
    try:
        return f'<img loading="lazy" alt="" src="{thumbnail(photo, THUMBNAIL)}">'
    except PhotoError:  # gone since it was classified
        return "<p>no longer readable</p>"


def thumbnail(photo: str, side: int) -> str:
    """A JPEG of at most so many pixels a side, as a data URI. Raises PhotoError."""
    image, content = decode(photo, at_least=(side, side)), io.BytesIO()
    image.thumbnail((side, side))
    image.save(content, "JPEG", quality=80)
    return data_uri("image/jpeg", content.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
