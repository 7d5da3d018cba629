"""The ranges of activations that int8 represents, and the strategies to choose them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import keras
import numpy as np

from edgecat.card import InputRecipe
from edgecat_export.quantisation.observation import Array, Outputs, min_max
from edgecat_export.quantisation.rounding import rounded
from edgecat_export.quantisation.statistics import Ranges

Observed = Mapping[str, Outputs]

SAMPLE = 50_000  # values of a layer that least squares are taken of
_CUTS = np.linspace(1, 0.2, 33)  # parts of a range that least squares tries
_MOVES = (
    keras.layers.Reshape,
    keras.layers.Flatten,
    keras.layers.Activation,
    keras.layers.Softmax,
)


def least_squares(ranges: Ranges, observed: Observed) -> Ranges:
    """Return ranges with the least squared error.

    They may clip rare values where finer steps for all others are worth more.
    """
    narrowed = {}
    for name, outputs in observed.items():
        values = outputs.sample.reshape(-1)
        values = values[:: max(1, len(values) // SAMPLE)]

        def error(low: float, high: float, values: Array = values) -> float:
            return float(np.square(rounded(values, low, high) - values).mean())

        low, high = ranges[name]
        for _ in range(2):  # either end in turn
            high = min((high * part for part in _CUTS), key=lambda high: error(low, high))
            low = min((low * part for part in _CUTS), key=lambda low: error(low, high))
        narrowed[name] = (float(low), float(high))
    return ranges | narrowed | {"pixels": ranges["pixels"]}


def entropy(ranges: Ranges, observed: Observed, folded: keras.Model) -> Ranges:
    """Return ranges whose logits change the probabilities least, by relative entropy.

    They clip logits far below the best one.
    """
    logits = [
        layer.name
        for layer in folded.layers
        if layer.name.endswith("_logits") or _is_before_softmax(folded, layer)
    ]
    values = observed[logits[-1]].sample if logits else np.zeros((0, 0), np.float32)
    if not values.size:
        return ranges
    expected = _softmax(values)
    low, high = ranges[logits[-1]]

    def divergence(ends: tuple[float, float]) -> float:
        probabilities = _softmax(rounded(values, *ends))
        ratio = np.log(expected + 1e-9) - np.log(probabilities + 1e-9)
        return float((expected * ratio).sum(axis=1).mean())

    candidates = [
        (min(low * low_part, 0.0), high * high_part)
        for low_part in np.linspace(1, 0, 21)
        for high_part in np.linspace(1, 0.6, 9)
    ]
    return ranges | dict.fromkeys(logits, min(candidates, key=divergence))


def _is_before_softmax(folded: keras.Model, layer: keras.Layer) -> bool:
    """Whether only reshaping comes between the layer and the scores."""
    after = folded.layers[folded.layers.index(layer) + 1 :]
    if not after or np.prod(layer.output.shape[1:]) != np.prod(folded.output.shape[1:]):
        return False
    return all(isinstance(later, _MOVES) for later in after)


def _softmax(values: Array) -> Array:
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    result: Array = raised / raised.sum(axis=1, keepdims=True)
    return result


class Strategy(NamedTuple):
    """A name for people and the model card, and the function that chooses ranges."""

    name: str
    ranges: Callable[[keras.Model, Observed, InputRecipe], Ranges]


def _with_entropy(folded: keras.Model, observed: Observed, recipe: InputRecipe) -> Ranges:
    return entropy(min_max(observed, recipe), observed, folded)


def _with_both(folded: keras.Model, observed: Observed, recipe: InputRecipe) -> Ranges:
    return entropy(least_squares(min_max(observed, recipe), observed), observed, folded)


# Tried in this order until a file passes verification.
STRATEGIES = (
    Strategy("min/max ranges", lambda folded, observed, recipe: min_max(observed, recipe)),
    Strategy("the logits' range by entropy", _with_entropy),
    Strategy("the logits' range by entropy, all others by least squares", _with_both),
)


def candidates(
    folded: keras.Model, observed: Observed, recipe: InputRecipe
) -> Iterator[tuple[str, Ranges]]:
    """Yield each strategy's name and its ranges, the plainest first."""
    for strategy in STRATEGIES:
        yield strategy.name, strategy.ranges(folded, observed, recipe)
