"""One picture of a folder or a camera."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edgecat.photo import Pixels


class Frame(NamedTuple):
    """A picture of a folder or a camera."""

    name: str  # for people
    pixels: Pixels  # (height, width, 3) RGB, upright
    at: float  # seconds on a clock that only goes forward
    path: Path | None = None  # of the file that holds it, if one does
