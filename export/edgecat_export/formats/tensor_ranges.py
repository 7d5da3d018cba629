"""The ranges of a file's tensors, from those of the Keras layers that make them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from edgecat_export.quantisation.statistics import Ranges

# The outputs of these have the values of their inputs (and the zeros of a padding, which every
# quantised range represents).
_MOVES = {
    "EXPAND_DIMS",
    "FLATTEN",
    "IDENTITY",
    "PAD",
    "RESHAPE",
    "SQUEEZE",
    "TRANSPOSE",
    "UNSQUEEZE",
}
_PROBABILITIES = {"LOGISTIC", "SIGMOID", "SOFTMAX"}
_CLAMPS = {"CLIP", "RELU", "RELU6"}


class Step(NamedTuple):
    """One operation of a file, in the order of execution."""

    operation: str
    inputs: list[str]
    output: str
    layer: str | None


def tensor_ranges(pixels: str, steps: Iterable[Step], ranges: Ranges) -> Ranges:
    """Return the range of each tensor; `pixels` is the name of the input.

    Raise ValueError if a layer has no range, or one range for several tensors.
    """
    known, made = {pixels: ranges["pixels"]}, dict[str, str]()
    for step in steps:
        if step.operation in _PROBABILITIES:
            known[step.output] = 0.0, 1.0
        elif step.operation in _MOVES:
            known[step.output] = known[step.inputs[0]]
        elif step.layer is None or step.layer not in ranges:
            raise ValueError(
                f"no range for {step.output!r}, the output of {step.operation}: "
                f"expected one of layer {step.layer!r}"
            )
        elif step.layer in made and step.operation not in _CLAMPS:
            raise ValueError(
                f"layer {step.layer!r} has one range, but makes {made[step.layer]!r} "
                f"and {step.output!r}"
            )
        else:
            made[step.layer] = step.output
            known[step.output] = ranges[step.layer]
    return known
