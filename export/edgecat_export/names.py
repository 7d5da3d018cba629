"""What is known of models without loading what it takes to build them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edgecat.errors import ModelError

ARCHITECTURES = (
    *(f"efficientnet_lite{number}" for number in range(5)),
    "homemade",
    "mobilenet",
    "mobilenet_v2",
    "resnet50",
)
Ranges = dict[
    str, tuple[float, float]
]  # lowest and highest output of each layer of a folded model, by the layer's name


class Statistics(NamedTuple):
    """What int8 needs to know of a folded model's layers; a checkpoint carries it, so that it can be exported without photos."""

    ranges: Ranges
    means: Mapping[
        str, Sequence[float]
    ]  # of each channel of what layers with weights read, by the name of the layer that puts it out


def unknown_architecture(name: str, known: Sequence[str]) -> ModelError:
    """The error for a name that is not known: it offers the nearest one."""
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, 1, 0.3)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return ModelError(f"unknown architecture '{name}'; {hint}Known: {', '.join(known)}")
