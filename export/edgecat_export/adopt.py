"""A Keras model that edgecat did not train becomes a checkpoint of the one form that edgecat exports.

Models inside the model are laid flat, and layers that only act in training go. Normalisation directly behind the input moves into
the recipe, and whatever the model ends in becomes a softmax. The result is compared with the model as it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from edgecat.card import InputRecipe, ModelCard
from edgecat.errors import ExportError, ModelError
from edgecat.foreign.description import Description
from edgecat.foreign.label_file import read_labels
from edgecat_export import checkpoint
from edgecat_export.child import Said
from edgecat_export.fold import TRAINING_ONLY
from edgecat_export.made_inputs import noise

_NORMALIZING = (keras.layers.Rescaling, keras.layers.Normalization)
_WEIGHTED = (keras.layers.Dense, keras.layers.Conv2D)
_RESHAPING = (keras.layers.Flatten, keras.layers.Reshape)
_AVERAGING = (keras.layers.GlobalAveragePooling2D, keras.layers.AveragePooling2D)
_SAME_ANSWER = 1e-4  # of two probabilities, in float32
_SAME_ANSWER_IN_HALF = 2e-2


class _Scaling(NamedTuple):
    """The model reads scale * pixel + offset; each (3,), for red, green and blue."""

    scale: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]

    def then(self, scale: Any, offset: Any) -> _Scaling:
        return _Scaling(self.scale * scale, self.offset * scale + offset)


def adopt(path: Path, given: Description, target: Path, said: Said) -> None:
    """Write the checkpoint `target` that answers as the .keras file `path` does. Raises ModelError, ExportError."""
    labels = read_labels(given.labels) if given.labels else ()
    said.put(f"loading {path.name}")
    original = checkpoint.load_model(path)
    try:
        height, width = _size(original)
        flat = _flat(original)
        model, scaling = _without_normalization(flat)
        if given.mean is not None and scaling is not None:
            raise ModelError("it normalises its input itself; leave --mean and --std out")
        _demand(flat.output_shape[-1], given, needs_recipe=scaling is None)
        outside = _Scaling(np.ones(3), np.zeros(3))
        if scaling is None:
            outside = outside.then(1, -np.resize(np.asarray(given.mean), 3)).then(
                1 / np.resize(np.asarray(given.std), 3), 0
            )
        model, recipe = _with_recipe(model, scaling or outside, height, width)
        model, logits = _probabilities(model)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    if len(labels) != model.output_shape[-1]:
        raise ModelError(
            f"{path}: {model.output_shape[-1]} answers, but --labels has {len(labels)}; expected one for each, in the order of the outputs"
        )
    _compare(original, outside, logits, model, recipe, path)
    checkpoint.save(model, ModelCard(path.stem, original.name, labels, recipe), target, half=False)


def _size(model: keras.Model) -> tuple[int, int]:
    if not isinstance(model, keras.Sequential) and not hasattr(model, "operations"):
        raise ModelError(
            f"a {type(model).__name__}, whose layers cannot be seen; expected a Sequential or functional model"
        )
    inputs, outputs = model.inputs or [], model.outputs or []
    expected = "expected one RGB image of a fixed size, (batch, height, width, 3)"
    if not inputs:
        raise ModelError(
            f"its input is not known; {expected}; put keras.Input((height, width, 3)) in front and save it anew"
        )
    shapes = " and ".join(str(tuple(tensor.shape)) for tensor in inputs)
    if len(inputs) > 1:
        raise ModelError(f"{len(inputs)} inputs, {shapes}; {expected}")
    shape = inputs[0].shape
    if len(shape) == 4 and shape[1] == 3 and shape[3] != 3:
        raise ModelError(f"its input is {shapes}, colours first; {expected}")
    if len(shape) != 4 or shape[3] != 3:
        raise ModelError(
            f"its input is {shapes}{', grey' if shape[-1] == 1 and len(shape) == 4 else ''}; {expected}"
        )
    if None in shape[1:]:
        raise ModelError(
            f"its input is {shapes}, of no fixed size; {expected}; call it on keras.Input((224, 224, 3)), or another size, and save that model"
        )
    if len(outputs) != 1:
        raise ModelError(f"{len(outputs)} outputs; expected one, with a value for each label")
    return shape[1], shape[2]


def _demand(outputs: int, given: Description, needs_recipe: bool) -> None:
    """Name all that is missing at once."""
    missing = (
        []
        if given.labels
        else [f"--labels FILE or --labels a,b,… ({max(2, outputs)}, in the order of the outputs)"]
    )
    if needs_recipe:
        missing += [f"--{name}" for name in ("mean", "std") if getattr(given, name) is None]
    if missing:
        explained = (
            ": the model reads (pixel - mean) / std, pixel in 0..255"
            if needs_recipe and (given.mean is None or given.std is None)
            else ""
        )
        raise ModelError(f"carries no model card; give {' and '.join(missing)}{explained}")


def _flat(model: keras.Model) -> keras.Model:
    """The same model without models inside, and without what does nothing outside training; each layer is its own and float32."""
    while any(isinstance(layer, keras.Model) for layer in model.layers):
        taken = {layer.name for layer in model.layers}

        def lay_flat(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(layer, keras.Model):
                return layer(*args, **kwargs)
            for inner in layer.layers:
                if inner.name in taken:  # noqa: B023
                    inner.name = f"{layer.name}_{inner.name}"
            taken.update(inner.name for inner in layer.layers)  # noqa: B023
            return keras.Model(layer.inputs[0], layer.outputs[0])._run_through_graph(
                args[0], lambda inner: inner
            )

        model = _rebuilt(model, lay_flat, copy=False)
    return _rebuilt(
        model,
        lambda layer, *args, **kwargs: (
            args[0] if _is_idle(layer, args[0]) else layer(*args, **kwargs)
        ),
    )


def _is_idle(layer: keras.Layer, values: Any) -> bool:
    """Whether a layer changes nothing when it classifies."""
    if isinstance(layer, keras.layers.RandomCrop):
        return bool(tuple(values.shape[1:3]) == (layer.height, layer.width))
    return isinstance(layer, TRAINING_ONLY) or (
        isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.linear
    )


def _rebuilt(
    model: keras.Model,
    call: Any = lambda layer, *args, **kwargs: layer(*args, **kwargs),
    copy: bool = True,
) -> keras.Model:
    def clone(layer: Any) -> Any:
        if isinstance(layer, keras.Layer) and copy:
            return type(layer).from_config(layer.get_config() | {"dtype": "float32"})
        return layer

    plain = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    pixels = keras.Input(plain.input.shape[1:], name="pixels")
    rebuilt = keras.models.clone_model(
        plain, input_tensors=pixels, clone_function=clone, call_function=call
    )
    weights = {layer.name: layer.get_weights() for layer in plain.layers} if copy else {}
    for layer in rebuilt.layers:
        if layer.name in weights:
            layer.set_weights(weights[layer.name])
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # works out what it computes with from its weights
    return rebuilt


def _maker(tensor: Any) -> Any:
    return tensor._keras_history.operation


def _without_normalization(model: keras.Model) -> tuple[keras.Model, _Scaling | None]:
    """The model behind its normalisation, and what that did; None if there is none."""
    values, scaling = model.inputs[0], _Scaling(np.ones(3), np.zeros(3))
    while len(nodes := _maker(values)._outbound_nodes) == 1 and isinstance(
        layer := nodes[0].operation, _NORMALIZING
    ):
        if isinstance(layer, keras.layers.Rescaling):
            scaling = scaling.then(
                np.asarray(layer.scale, np.float64), np.asarray(layer.offset, np.float64)
            )
        else:
            mean, variance = (
                np.broadcast_to(np.asarray(value, np.float64), (1, 1, 1, 3)).reshape(3)
                for value in (layer.mean, layer.variance)
            )
            deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
            scaling = (
                scaling.then(deviation, -mean * deviation)
                if layer.invert
                else scaling.then(1 / deviation, -mean / deviation)
            )
        values = layer.output
    if values is model.inputs[0]:
        return model, None
    return _rebuilt(keras.Model(values, model.outputs[0], name=model.name)), scaling


def _with_recipe(
    model: keras.Model, scaling: _Scaling, height: int, width: int
) -> tuple[keras.Model, InputRecipe]:
    """Where colours are normalised each in its own way, pixels are brought to about -1..1 and the model does the rest."""
    scale, offset = np.broadcast_to(scaling.scale, 3), np.broadcast_to(scaling.offset, 3)
    if (
        np.allclose(scale, scale[0], rtol=1e-6)
        and np.allclose(offset, offset[0], rtol=1e-6)
        and scale[0] > 0
    ):
        return model, InputRecipe(
            height,
            width,
            mean=round(float(-offset[0] / scale[0]), 6) + 0.0,
            std=round(float(1 / scale[0]), 6),
        )
    recipe = InputRecipe(height, width)
    own = keras.layers.DepthwiseConv2D(1, name="normalization_of_colours")
    pixels = keras.Input((height, width, 3), name="pixels")
    model = _flat(keras.Model(pixels, model(own(pixels)), name=model.name))
    model.get_layer(own.name).set_weights(
        [(scale * recipe.std).reshape(1, 1, 3, 1), offset + scale * recipe.mean]
    )
    return model, recipe


def _probabilities(model: keras.Model) -> tuple[keras.Model, bool]:
    """The model with one probability for each label, and whether it had logits. Raises ModelError where its outputs are neither."""
    outputs = model.outputs[0]
    shape = tuple(outputs.shape[1:])
    if not shape or None in shape or np.prod(shape) != shape[-1]:
        raise ModelError(
            f"its output is {tuple(outputs.shape)}; expected (batch, labels), one value for each label"
        )
    last, averaged = _maker(outputs), False
    while isinstance(last, (*_RESHAPING, *_AVERAGING)):
        averaged = averaged or isinstance(last, _AVERAGING)
        last = _maker(last.input)
    activation = (
        keras.activations.softmax
        if isinstance(last, keras.layers.Softmax)
        else getattr(last, "activation", None)
    )
    meaning = "expected a softmax, logits (no activation), or one sigmoid unit and two labels"
    if activation is keras.activations.softmax:
        values = outputs
    elif activation is keras.activations.sigmoid:
        if shape[-1] > 1:
            raise ModelError(
                f"'{last.name}' has {shape[-1]} sigmoid units, each label true or not by itself; {meaning}: edgecat gives each photo one label"
            )
        values = _two_way(last, averaged)
    elif activation is keras.activations.linear and isinstance(last, _WEIGHTED):
        if shape[-1] == 1:
            raise ModelError(
                f"'{last.name}' is one linear unit, whose value may mean anything; {meaning}; put activation='sigmoid' on it if it is a logit"
            )
        values = keras.layers.Activation("softmax", name=f"{last.name}_probabilities")(outputs)
    else:
        what = getattr(activation, "__name__", None) or type(last).__name__
        raise ModelError(
            f"it ends in '{last.name}' ({what}), whose values are no probabilities; {meaning}"
        )
    if len(shape) > 1:
        values = keras.layers.Flatten(name=f"{last.name}_flat")(values)
    return _rebuilt(
        keras.Model(model.inputs[0], values, name=model.name)
    ), activation is keras.activations.linear


def _two_way(sigmoid: keras.Layer, averaged: bool) -> Any:
    """sigmoid(w x + b) is the second of softmax([0, w x + b]), exactly."""
    weighted, between = sigmoid, list[keras.Layer]()
    while not isinstance(weighted, _WEIGHTED):
        weighted = _maker(weighted.input)
        if isinstance(weighted, _AVERAGING):
            between.insert(0, weighted)
        elif not isinstance(weighted, (*_WEIGHTED, *_RESHAPING)):
            break
    if (
        averaged
        or not isinstance(weighted, _WEIGHTED)
        or (weighted is not sigmoid and weighted.activation is not keras.activations.linear)
    ):
        raise ModelError(
            f"the sigmoid '{sigmoid.name}' does not stand on one Dense or convolution, which edgecat could double; put a Dense(2, softmax) there"
        )
    wide = type(weighted).from_config(
        weighted.get_config()
        | {
            "units" if isinstance(weighted, keras.layers.Dense) else "filters": 2,
            "activation": "linear",
            "name": f"{sigmoid.name}_two",
        }
    )
    values = wide(weighted.input)
    wide.set_weights(
        [
            np.concatenate([np.zeros_like(weight), weight], axis=-1)
            for weight in weighted.get_weights()
        ]
    )
    for layer in between:
        values = layer(values)
    return keras.layers.Activation("softmax", name=f"{sigmoid.name}_probabilities")(values)


def _compare(
    original: keras.Model,
    outside: _Scaling,
    logits: bool,
    model: keras.Model,
    recipe: InputRecipe,
    path: Path,
) -> None:
    """Raises ExportError if the model in its new form answers differently."""
    pixels = noise(recipe, 8).astype(np.float32)
    wanted = np.asarray(
        original.predict_on_batch((pixels * outside.scale + outside.offset).astype(np.float32)),
        np.float64,
    ).reshape(len(pixels), -1)
    got = model.predict_on_batch((pixels - recipe.mean) / recipe.std)
    if wanted.shape[1] == 1:
        wanted = np.hstack([1 - wanted, wanted])
    elif logits:
        wanted = np.exp(wanted - wanted.max(axis=1, keepdims=True))
        wanted /= wanted.sum(axis=1, keepdims=True)
    most = (
        _SAME_ANSWER
        if all(layer.compute_dtype == "float32" for layer in original._flatten_layers())
        else _SAME_ANSWER_IN_HALF
    )
    difference = float(np.abs(wanted - got).max())
    if not difference <= most:  # not a number, either
        raise ExportError(
            f"{path}: in the form that edgecat exports it answers differently, by {difference:.4f}; build it from Dense, Conv2D and the like"
        )
