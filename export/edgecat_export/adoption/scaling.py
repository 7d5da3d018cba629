"""The normalisation of a model's input moves into the recipe."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from edgecat.card import InputRecipe
from edgecat_export.adoption.flat import flat, maker, rebuilt

_NORMALIZING = (keras.layers.Rescaling, keras.layers.Normalization)

Colours = npt.NDArray[np.float64]  # (3,), red, green and blue


class Scaling(NamedTuple):
    """The model's input is scale * pixel + offset."""

    scale: Colours
    offset: Colours

    def then(self, scale: Any, offset: Any) -> Scaling:
        """Return this scaling followed by another."""
        return Scaling(self.scale * scale, self.offset * scale + offset)


IDENTITY = Scaling(np.ones(3), np.zeros(3))


def without_normalization(model: keras.Model) -> tuple[keras.Model, Scaling | None]:
    """Return the model behind its normalisation, and the normalisation; None if it has none."""
    values, scaling = model.inputs[0], IDENTITY
    while len(nodes := maker(values)._outbound_nodes) == 1 and isinstance(
        layer := nodes[0].operation, _NORMALIZING
    ):
        if isinstance(layer, keras.layers.Rescaling):
            scale, offset = (np.asarray(value, np.float64) for value in (layer.scale, layer.offset))
            scaling = scaling.then(scale, offset)
        else:
            mean, variance = _of_colours(layer.mean), _of_colours(layer.variance)
            deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
            if layer.invert:
                scaling = scaling.then(deviation, -mean * deviation)
            else:
                scaling = scaling.then(1 / deviation, -mean / deviation)
        values = layer.output
    if values is model.inputs[0]:
        return model, None
    return rebuilt(keras.Model(values, model.outputs[0], name=model.name)), scaling


def with_recipe(
    model: keras.Model, scaling: Scaling, height: int, width: int
) -> tuple[keras.Model, InputRecipe]:
    """Return the model and the recipe that together scale pixels by `scaling`.

    If the colours are scaled differently, the recipe brings pixels to about -1..1 and a new first
    layer does the rest.
    """
    scale, offset = np.broadcast_to(scaling.scale, 3), np.broadcast_to(scaling.offset, 3)
    alike = all(np.allclose(values, values[0], rtol=1e-6) for values in (scale, offset))
    if alike and scale[0] > 0:
        mean = round(float(-offset[0] / scale[0]), 6) + 0.0
        return model, InputRecipe(height, width, mean=mean, std=round(float(1 / scale[0]), 6))
    recipe = InputRecipe(height, width)
    own = keras.layers.DepthwiseConv2D(1, name="normalization_of_colours")
    pixels = keras.Input((height, width, 3), name="pixels")
    model = flat(keras.Model(pixels, model(own(pixels)), name=model.name))
    model.get_layer(own.name).set_weights(
        [(scale * recipe.std).reshape(1, 1, 3, 1), offset + scale * recipe.mean]
    )
    return model, recipe


def _of_colours(value: Any) -> Colours:
    return np.broadcast_to(np.asarray(value, np.float64), (1, 1, 1, 3)).reshape(3)
