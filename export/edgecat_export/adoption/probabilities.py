"""The outputs of a model become probabilities."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from edgecat.errors import ModelError
from edgecat_export.adoption.flat import maker, rebuilt

_WEIGHTED = (keras.layers.Dense, keras.layers.Conv2D)
_RESHAPING = (keras.layers.Flatten, keras.layers.Reshape)
_AVERAGING = (keras.layers.GlobalAveragePooling2D, keras.layers.AveragePooling2D)
_EXPECTED = "expected a softmax, logits (no activation), or one sigmoid unit and two labels"


def probabilities(model: keras.Model) -> tuple[keras.Model, bool]:
    """Return the model with one probability a label, and whether its outputs were logits.

    Raise ModelError if they were neither.
    """
    outputs = model.outputs[0]
    shape = tuple(outputs.shape[1:])
    if not shape or None in shape or np.prod(shape) != shape[-1]:
        raise ModelError(
            f"its output is {tuple(outputs.shape)}; "
            "expected (batch, labels), one value for each label"
        )
    last, averaged = maker(outputs), False
    while isinstance(last, (*_RESHAPING, *_AVERAGING)):
        averaged = averaged or isinstance(last, _AVERAGING)
        last = maker(last.input)
    if isinstance(last, keras.layers.Softmax):
        activation = keras.activations.softmax
    else:
        activation = getattr(last, "activation", None)
    if activation is keras.activations.softmax:
        values = outputs
    elif activation is keras.activations.sigmoid:
        if shape[-1] > 1:
            raise ModelError(
                f"'{last.name}' has {shape[-1]} sigmoid units, each label true or not by itself; "
                f"{_EXPECTED}: edgecat gives each photo one label"
            )
        values = _two_way(last, averaged)
    elif activation is keras.activations.linear and isinstance(last, _WEIGHTED):
        if shape[-1] == 1:
            raise ModelError(
                f"'{last.name}' is one linear unit, whose value may mean anything; {_EXPECTED}; "
                "put activation='sigmoid' on it if it is a logit"
            )
        values = keras.layers.Activation("softmax", name=f"{last.name}_probabilities")(outputs)
    else:
        what = getattr(activation, "__name__", None) or type(last).__name__
        raise ModelError(
            f"it ends in '{last.name}' ({what}), whose values are no probabilities; {_EXPECTED}"
        )
    if len(shape) > 1:
        values = keras.layers.Flatten(name=f"{last.name}_flat")(values)
    classifier = rebuilt(keras.Model(model.inputs[0], values, name=model.name))
    return classifier, activation is keras.activations.linear


def _two_way(sigmoid: keras.Layer, averaged: bool) -> Any:
    """Return two probabilities for the one of `sigmoid`.

    sigmoid(w x + b) is the second of softmax([0, w x + b]), exactly.
    """
    weighted, between = sigmoid, list[keras.Layer]()
    while not isinstance(weighted, _WEIGHTED):
        weighted = maker(weighted.input)
        if isinstance(weighted, _AVERAGING):
            between.insert(0, weighted)
        elif not isinstance(weighted, (*_WEIGHTED, *_RESHAPING)):
            break
    fits = isinstance(weighted, _WEIGHTED) and (
        weighted is sigmoid or weighted.activation is keras.activations.linear
    )
    if averaged or not fits:
        raise ModelError(
            f"the sigmoid '{sigmoid.name}' does not stand on one Dense or convolution, "
            "which edgecat could double; put a Dense(2, softmax) there"
        )
    outputs = "units" if isinstance(weighted, keras.layers.Dense) else "filters"
    changes = {outputs: 2, "activation": "linear", "name": f"{sigmoid.name}_two"}
    wide = type(weighted).from_config(weighted.get_config() | changes)
    values = wide(weighted.input)
    weights = weighted.get_weights()
    wide.set_weights([np.concatenate([np.zeros_like(one), one], axis=-1) for one in weights])
    for layer in between:
        values = layer(values)
    return keras.layers.Activation("softmax", name=f"{sigmoid.name}_probabilities")(values)
