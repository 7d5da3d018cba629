"""Pixels -> input tensor, output -> scores: each by one table, made once per model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgecat.engines import Engine, Tensor, TensorSpec
from edgecat.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from edgecat.card import InputRecipe, ModelCard
    from edgecat.photo import Pixels


class Tensors:
    """The input and output tables of an open model.

    `logits` says whether the outputs need a softmax to be probabilities.
    """

    def __init__(
        self, recipe: InputRecipe, input: TensorSpec, output: TensorSpec, *, logits: bool = False
    ) -> None:
        self._input, self._output = input, output
        self._input_table = input_table(recipe, input)
        self._output_table = output_table(output)
        self._logits = logits

    def read(self, pixels: Pixels) -> Tensor:
        """Return the input tensor of (height, width, 3) pixels: normalised, perhaps quantised."""
        table = self._input_table
        if table is not None and table.ndim == 2:
            # Channel by channel takes a third of the time of one look-up with two indices.
            channels = [table[:, channel][pixels[..., channel]] for channel in range(3)]
            return np.stack(channels, axis=0 if self._input.channels_first else 2)
        tensor: Tensor = pixels if table is None else table[pixels]
        return tensor.transpose(2, 0, 1) if self._input.channels_first else tensor

    def scores(self, output: Tensor) -> npt.NDArray[np.float32]:
        """Return the (labels,) probabilities of one photo's output; a single one makes two."""
        scores = self._dequantise(output)
        if len(scores) == 1:  # of the second label
            first = np.zeros(1, np.float32) if self._logits else 1 - scores
            scores = np.concatenate([first, scores])
        return softmax(scores) if self._logits else scores

    def _dequantise(self, output: Tensor) -> npt.NDArray[np.float32]:
        if self._output_table is not None:
            # After a run caches are cold: a look-up takes a third of the computation's time.
            return self._output_table.take(output.view(np.uint8))
        return dequantise(output, self._output)


def input_table(recipe: InputRecipe, spec: TensorSpec) -> Tensor | None:
    """Return the input of each pixel value 0..255, in the input's dtype: normalised, quantised.

    The shape is (256,), or (256, 3) if the recipe differs between R, G and B. Return None if
    the input is the pixel value itself.
    """
    alike = not isinstance(recipe.mean, tuple) and not isinstance(recipe.std, tuple)
    pixels = np.arange(256) if alike else np.arange(256)[:, np.newaxis].repeat(3, axis=1)
    values = recipe.normalise(pixels)
    if spec.dtype.kind == "f":
        return values.astype(spec.dtype)
    limits = np.iinfo(spec.dtype)
    # Rounded and clipped: a bare astype truncates and wraps, and half of all values are one off.
    steps = np.rint(values / np.float32(spec.scale or 1)) + spec.zero_point
    table = np.clip(steps, limits.min, limits.max).astype(spec.dtype)
    return None if np.array_equal(table, pixels) else table


def output_table(spec: TensorSpec) -> npt.NDArray[np.float32] | None:
    """Return the real value of each byte of an 8-bit output, (256,); None for other outputs."""
    if not spec.scale or spec.dtype.itemsize != 1:
        return None
    return dequantise(np.arange(256, dtype=np.uint8).view(spec.dtype), spec)


def dequantise(tensor: Tensor, spec: TensorSpec) -> npt.NDArray[np.float32]:
    """Return the real values of a tensor as float32; a float32 tensor itself."""
    values = tensor.astype(np.float32, copy=bool(spec.scale))
    if spec.scale:
        values -= spec.zero_point
        values *= spec.scale
    return values


def check_shapes(path: Path, engine: Engine, card: ModelCard) -> None:
    """Raise ModelError if the shapes of the open model are not those of its card."""
    photo, labels = (1, card.input.height, card.input.width, 3), len(card.labels)
    shape, outputs = engine.input.photo_shape, math.prod(engine.output.shape)
    photo_fits = len(shape) == len(photo) and all(
        n in (0, expected) for n, expected in zip(shape, photo, strict=True)
    )
    labels_fit = outputs in (0, labels) or (outputs, labels) == (1, 2)  # one score makes two
    if not (photo_fits and labels_fit):
        raise ModelError(
            f"{path}: {engine.input.shape} -> {engine.output.shape}, "
            f"but its card says {photo} -> {(1, labels)}; export it again"
        )


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the probabilities of (classes,) logits."""
    powers = np.exp(logits - logits.max())
    probabilities: npt.NDArray[np.float32] = powers / powers.sum()
    return probabilities
