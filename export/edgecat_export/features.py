"""What a frozen base makes of photos: computed once and kept on disk, so that a head learns from it in seconds."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from edgecat.cache import cache_folder
from edgecat.photo import InputRecipe, read_pixels
from edgecat_export.dataset import normalise
from edgecat_export.fold import fold_batch_normalization

AT_ONCE = 512  # photos a file: what a kill can cost
BATCH = 32

Features = npt.NDArray[np.float32]  # (photos, channels)


class Base:
    """A network up to its features, frozen."""

    def __init__(self, model: keras.Model, recipe: InputRecipe) -> None:
        """`model` takes what `recipe` makes of photos, and ends in (batch, channels)."""
        self.folded = fold_batch_normalization(model)
        self.recipe = recipe
        content = hashlib.sha256(json.dumps([type(layer).__name__ for layer in model.layers]).encode())
        for weight in model.get_weights():
            content.update(f"{weight.shape}".encode() + weight.tobytes())
        self.digest = content.hexdigest()

    def features(self, photos: Sequence[Path], mirrored: bool = False, on_step: Callable[[int], None] = lambda done: None) -> Features:
        """Of the photos as the device reads them, or of their mirror images; (photos, channels), with the precision of float16.

        A file of them is found again only for the same photos in the same order, weights, recipe and version of edgecat.
        """
        parts = []
        for start in range(0, len(photos), AT_ONCE):
            some = photos[start : start + AT_ONCE]
            contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in some]
            key = hashlib.sha256(json.dumps([version("edgecat"), self.digest, repr(self.recipe), mirrored, contents]).encode()).hexdigest()
            file = cache_folder() / "features" / f"{key}.npy"
            if not file.exists():
                _write_whole(file, self._compute(some, mirrored).astype(np.float16))
            parts.append(np.load(file))
            on_step(start + len(some))
        return np.concatenate(parts).astype(np.float32)

    def _compute(self, photos: Sequence[Path], mirrored: bool) -> Features:
        features: Features = self.folded.predict(_Photos(photos, self.recipe, mirrored), verbose=0)
        return features


class _Photos(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of normalised photos, read while the network computes."""

    def __init__(self, photos: Sequence[Path], recipe: InputRecipe, mirrored: bool) -> None:
        super().__init__(workers=os.cpu_count() or 1, max_queue_size=8)
        self.photos, self.recipe, self.mirrored = photos, recipe, mirrored

    def __len__(self) -> int:
        return math.ceil(len(self.photos) / BATCH)

    def __getitem__(self, index: int) -> tuple[Features]:
        pixels = np.stack([read_pixels(path, self.recipe) for path in self.photos[index * BATCH : (index + 1) * BATCH]])
        return (normalise(pixels[:, :, ::-1] if self.mirrored else pixels, self.recipe),)


def _write_whole(file: Path, features: npt.NDArray[np.float16]) -> None:
    """A kill leaves no half file under the name, and two runs at once do not disturb each other."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.stem}.{os.getpid()}.part")
    with part.open("wb") as opened:
        np.save(opened, features)
    os.replace(part, file)
