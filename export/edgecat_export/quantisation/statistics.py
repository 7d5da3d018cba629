"""What int8 has to know of a model, as a checkpoint carries it. Needs no Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

Ranges = dict[str, tuple[float, float]]  # lowest and highest output of each layer, by its name


class Statistics(NamedTuple):
    """Statistics of a folded model, measured on photos.

    A checkpoint carries them, so that it can be exported to int8 without photos.
    """

    ranges: Ranges
    # Mean of each channel of the layers that weighted layers read, by layer.
    means: Mapping[str, Sequence[float]]
