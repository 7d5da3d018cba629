"""A photo for benchmarks, where the user gives none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT, BANDS = 4000, 3000, 10  # one band at a time: all at once would take 400 MB


def write_synthetic_photo(path: Path) -> None:
    """Write a JPEG of 12 megapixels, like a phone's: soft shapes with a sensor's noise.

    The pixels are always the same.
    """
    random = np.random.default_rng(0)
    shapes = Image.fromarray(random.integers(0, 256, (30, 40, 3), np.uint8))
    band_height, shapes_height = HEIGHT // BANDS, shapes.height // BANDS
    noise = np.rint(random.normal(0, 3, (band_height, WIDTH, 3))).astype(np.int16)
    photo = Image.new("RGB", (WIDTH, HEIGHT))
    for band in range(BANDS):
        top = shapes_height * band
        box = (0, top, shapes.width, top + shapes_height)
        smooth = shapes.resize((WIDTH, band_height), Image.Resampling.BICUBIC, box)
        pixels = (np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8)
        photo.paste(Image.fromarray(pixels), (0, band_height * band))
    photo.save(path, quality=90)
