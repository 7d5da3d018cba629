"""The records that each reader of a model file fills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

Shape: TypeAlias = "tuple[int | str, ...]"  # a name, or ?, where a size is free


@dataclass(frozen=True)
class TensorInfo:
    """An input or output. A real value is `scale * (integer - zero_point)`; None for floats."""

    name: str
    shape: Shape
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Network:
    """What a model computes.

    `macs` are the multiply-accumulates of convolutions and matrix products for one photo. They
    are None if a size other than the batch is free.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operations: Mapping[str, int]  # name -> count, the most frequent first
    weights_bytes: int
    macs: int | None
    signature: str = ""  # name of the first signature of a .tflite; empty if it has none


def single_photo(shape: Shape) -> tuple[int, ...]:
    """Return `shape` with a free batch size set to 1. Raise TypeError if another size is free."""
    batch = (1,) if shape and isinstance(shape[0], str) else shape[:1]
    sizes = tuple(size for size in (*batch, *shape[1:]) if isinstance(size, int))
    if len(sizes) < len(shape):
        raise TypeError(shape)
    return sizes
