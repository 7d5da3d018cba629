"""A Keras model that edgecat did not train becomes a checkpoint.

Models inside it are laid flat, and layers that only act in training are removed. Normalisation
directly behind the input moves into the recipe, and the outputs become a softmax. The result is
compared with the original.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from edgecat.card import InputRecipe, ModelCard
from edgecat.errors import ExportError, ModelError
from edgecat.foreign.description import Description
from edgecat.foreign.label_file import read_labels
from edgecat_export import checkpoint
from edgecat_export.adoption.flat import flat
from edgecat_export.adoption.probabilities import probabilities
from edgecat_export.adoption.scaling import (
    IDENTITY,
    Scaling,
    with_recipe,
    without_normalization,
)
from edgecat_export.synthetic_inputs import noise
from edgecat_export.worker import Messages

_SAME_SCORE = 1e-4  # the largest difference of two probabilities in float32
_SAME_SCORE_IN_HALF = 2e-2


def adopt(path: Path, description: Description, target: Path, messages: Messages) -> None:
    """Write the checkpoint `target` with the same scores as the .keras file `path`.

    Raise ModelError, ExportError.
    """
    labels = read_labels(description.labels) if description.labels else ()
    messages.put(f"loading {path.name}")
    original = checkpoint.load_model(path)
    try:
        height, width = _size(original)
        flattened = flat(original)
        model, scaling = without_normalization(flattened)
        if description.mean is not None and scaling is not None:
            raise ModelError("it normalises its input itself; leave --mean and --std out")
        _demand(flattened.output_shape[-1], description, needs_recipe=scaling is None)
        outside = IDENTITY
        if scaling is None:
            mean, std = (
                np.resize(np.asarray(value), 3) for value in (description.mean, description.std)
            )
            outside = outside.then(1, -mean).then(1 / std, 0)
        model, recipe = with_recipe(model, scaling or outside, height, width)
        model, logits = probabilities(model)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    if len(labels) != model.output_shape[-1]:
        raise ModelError(
            f"{path}: {model.output_shape[-1]} answers, but --labels has {len(labels)}; "
            "expected one for each, in the order of the outputs"
        )
    _compare(original, outside, logits, model, recipe, path)
    checkpoint.save(model, ModelCard(path.stem, original.name, labels, recipe), target, half=False)


def _size(model: keras.Model) -> tuple[int, int]:
    """Return height and width of the input. Raise ModelError if it is no RGB image."""
    if not isinstance(model, keras.Sequential) and not hasattr(model, "operations"):
        raise ModelError(
            f"a {type(model).__name__}, whose layers cannot be seen; "
            "expected a Sequential or functional model"
        )
    inputs, outputs = model.inputs or [], model.outputs or []
    expected = "expected one RGB image of a fixed size, (batch, height, width, 3)"
    if not inputs:
        raise ModelError(
            f"its input is not known; {expected}; "
            "put keras.Input((height, width, 3)) in front and save it again"
        )
    shapes = " and ".join(str(tuple(tensor.shape)) for tensor in inputs)
    if len(inputs) > 1:
        raise ModelError(f"{len(inputs)} inputs, {shapes}; {expected}")
    shape = inputs[0].shape
    if len(shape) == 4 and shape[1] == 3 and shape[3] != 3:
        raise ModelError(f"its input is {shapes}, colours first; {expected}")
    if len(shape) != 4 or shape[3] != 3:
        grey = ", grey" if shape[-1] == 1 and len(shape) == 4 else ""
        raise ModelError(f"its input is {shapes}{grey}; {expected}")
    if None in shape[1:]:
        raise ModelError(
            f"its input is {shapes}, of no fixed size; {expected}; "
            "call it on keras.Input((224, 224, 3)), or another size, and save that model"
        )
    if len(outputs) != 1:
        raise ModelError(f"{len(outputs)} outputs; expected one, with a value for each label")
    return shape[1], shape[2]


def _demand(outputs: int, description: Description, needs_recipe: bool) -> None:
    """Raise ModelError that names all missing options at once."""
    missing = []
    if not description.labels:
        count = max(2, outputs)
        missing.append(f"--labels FILE or --labels a,b,… ({count}, in the order of the outputs)")
    if needs_recipe:
        missing += [f"--{name}" for name in ("mean", "std") if getattr(description, name) is None]
    if missing:
        explained = ""
        if needs_recipe and (description.mean is None or description.std is None):
            explained = ": the model reads (pixel - mean) / std, pixel in 0..255"
        raise ModelError(f"carries no model card; give {' and '.join(missing)}{explained}")


def _compare(
    original: keras.Model,
    outside: Scaling,
    logits: bool,
    model: keras.Model,
    recipe: InputRecipe,
    path: Path,
) -> None:
    """Raise ExportError if the scores of the model and of the original differ."""
    pixels = noise(recipe, 8).astype(np.float32)
    inputs = (pixels * outside.scale + outside.offset).astype(np.float32)
    expected = np.asarray(original.predict_on_batch(inputs), np.float64).reshape(len(pixels), -1)
    scores = model.predict_on_batch((pixels - recipe.mean) / recipe.std)
    if expected.shape[1] == 1:
        expected = np.hstack([1 - expected, expected])
    elif logits:
        expected = np.exp(expected - expected.max(axis=1, keepdims=True))
        expected /= expected.sum(axis=1, keepdims=True)
    single = all(layer.compute_dtype == "float32" for layer in original._flatten_layers())
    most = _SAME_SCORE if single else _SAME_SCORE_IN_HALF
    difference = float(np.abs(expected - scores).max())
    if not difference <= most:  # not a number, either
        raise ExportError(
            f"{path}: in the form that edgecat exports it answers differently, "
            f"by {difference:.4f}; build it from Dense, Conv2D and the like"
        )
