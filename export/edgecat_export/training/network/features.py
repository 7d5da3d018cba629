"""Features of photos: computed once by a frozen network, and kept on disk."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from edgecat.card import InputRecipe
from edgecat.files import cache_folder
from edgecat.photo import read_pixels
from edgecat_export.networks.fold import fold_batch_normalization

AT_ONCE = 512  # photos a file: the most that are lost when the process is killed
BATCH = 32

Features = npt.NDArray[np.float32]  # (photos, channels)


class Base:
    """A network up to its features, frozen."""

    def __init__(self, model: keras.Model, recipe: InputRecipe) -> None:
        """`model` takes photos as `recipe` makes them; its output is (batch, channels)."""
        self.folded = fold_batch_normalization(model)
        self.recipe = recipe
        layers = json.dumps([type(layer).__name__ for layer in model.layers])
        content = hashlib.sha256(layers.encode())
        for weight in model.get_weights():
            content.update(f"{weight.shape}".encode() + weight.tobytes())
        self.digest = content.hexdigest()

    def features(
        self,
        photos: Sequence[Path],
        mirrored: bool = False,
        on_step: Callable[[int], None] = lambda done: None,
    ) -> Features:
        """Return the features of photos or of their mirror images, rounded to float16.

        The cache is used for the same photos in the same order, with the same weights, recipe and
        version of edgecat. `on_step` is called with the number of photos done.
        """
        parts = []
        for start in range(0, len(photos), AT_ONCE):
            some = photos[start : start + AT_ONCE]
            name = f"{self._key(some, mirrored)}.npy"
            features = _load(name, len(some))
            if features is None:
                features = self._compute(some, mirrored).astype(np.float16)
                _store(name, features)
            parts.append(features)
            on_step(start + len(some))
        return np.concatenate(parts).astype(np.float32)

    def _key(self, photos: Sequence[Path], mirrored: bool) -> str:
        contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in photos]
        parts = [version("edgecat"), self.digest, repr(self.recipe), mirrored, contents]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

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
        paths = self.photos[index * BATCH : (index + 1) * BATCH]
        pixels = np.stack([read_pixels(path, self.recipe) for path in paths])
        return (self.recipe.normalise(pixels[:, :, ::-1] if self.mirrored else pixels),)


def _load(name: str, photos: int) -> npt.NDArray[np.float16] | None:
    """Return features from the cache; None if there are none, or a broken file."""
    try:
        features = np.load(cache_folder() / "features" / name)
    except (OSError, ValueError, EOFError):
        return None
    return features if features.dtype == np.float16 and features.shape[0] == photos else None


def _store(name: str, features: npt.NDArray[np.float16]) -> None:
    """Write features whole or not at all; they stay uncached if the folder is not writable."""
    with suppress(OSError):
        folder = cache_folder() / "features"
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{name}.{os.getpid()}.part"
        try:
            with part.open("wb") as opened:
                np.save(opened, features)
            os.replace(part, folder / name)
        finally:
            part.unlink(missing_ok=True)
