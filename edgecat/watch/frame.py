"""One picture of a folder or a camera."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edgecat.photo import Pixels


class Frame(NamedTuple):
    """One picture of a folder or a camera."""

    name: str  # for people
    pixels: Pixels  # (height, width, 3) RGB, upright
    at: float  # seconds of a monotonic clock, or of the video
    path: Path | None = None  # the photo's file; None for a camera's frame
