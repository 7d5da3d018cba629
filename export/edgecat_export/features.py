"""What a frozen base makes of photos: computed once and kept on disk, so that a head learns from it in seconds."""

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
        content = hashlib.sha256(
            json.dumps([type(layer).__name__ for layer in model.layers]).encode()
        )
        for weight in model.get_weights():
            content.update(f"{weight.shape}".encode() + weight.tobytes())
        self.digest = content.hexdigest()

    def features(
        self,
        photos: Sequence[Path],
        mirrored: bool = False,
        on_step: Callable[[int], None] = lambda done: None,
    ) -> Features:
        """Of the photos as the device reads them, or of their mirror images; (photos, channels), with the precision of float16.

        A file of them is found again only for the same photos in the same order, weights, recipe and version of edgecat.
        """
        parts = []
        for start in range(0, len(photos), AT_ONCE):
            some = photos[start : start + AT_ONCE]
            contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in some]
            key = hashlib.sha256(
                json.dumps(
                    [version("edgecat"), self.digest, repr(self.recipe), mirrored, contents]
                ).encode()
            ).hexdigest()
            found = _kept(f"{key}.npy", len(some))
            if found is None:
                found = self._compute(some, mirrored).astype(np.float16)
                _keep(f"{key}.npy", found)
            parts.append(found)
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
        pixels = np.stack(
            [
                read_pixels(path, self.recipe)
                for path in self.photos[index * BATCH : (index + 1) * BATCH]
            ]
        )
        return (normalise(pixels[:, :, ::-1] if self.mirrored else pixels, self.recipe),)


def _kept(name: str, photos: int) -> npt.NDArray[np.float16] | None:
    """What was computed before; None where there is nothing, or something broken."""
    try:
        features = np.load(cache_folder() / "features" / name)
    except (OSError, ValueError, EOFError):
        return None
    return features if features.dtype == np.float16 and features.shape[0] == photos else None


def _keep(name: str, features: npt.NDArray[np.float16]) -> None:
    """Whole or not at all, whoever else writes at the same time; where nothing can be written, they are computed again next time."""
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
