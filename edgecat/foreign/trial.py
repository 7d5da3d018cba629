"""A trial run of a model: how many outputs it has, and whether they are probabilities."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from edgecat.engines import Engine, Tensor, TensorSpec
from edgecat.errors import ModelError

_ORANGE = (230, 120, 40)  # a colour, so that outputs of a model of colours differ too


def run_on_orange(
    path: Path, engine: Engine, height: int, width: int
) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the outputs for an orange photo. Raise ModelError.

    Its normalisation does not matter: what counts is the number of outputs, and whether they are
    those of a softmax.
    """
    spec = engine.input
    values = (
        np.array(_ORANGE) / 255
        if spec.dtype.kind == "f"
        else np.array(_ORANGE) + np.iinfo(spec.dtype).min
    )
    photo = np.full((height, width, 3), values, spec.dtype)
    try:
        scores: Tensor = engine.run(
            (photo.transpose(2, 0, 1) if spec.channels_first else photo)[np.newaxis]
        )[0]
        return scores
    except Exception as error:  # the engines' errors share no other parent
        raise ModelError(
            f"{path}: does not run on a photo of {height} x {width} pixels "
            f"({str(error).strip().splitlines()[0]})"
        ) from error


def are_probabilities(outputs: np.ndarray[Any, np.dtype[Any]], spec: TensorSpec) -> bool:
    """Return whether these outputs can only be probabilities."""
    if spec.scale:  # all that an integer can say
        limits = np.iinfo(spec.dtype)
        return limits.min >= spec.zero_point and (limits.max - spec.zero_point) * spec.scale < 1.01
    return (
        len(outputs) > 1
        and bool(outputs.min() >= 0)
        and math.isclose(float(outputs.astype(np.float64).sum()), 1, abs_tol=2e-3)
    )
