"""A Keras model laid flat: no models inside."""

from __future__ import annotations

from typing import Any

import keras

from edgecat_export.networks.fold import TRAINING_ONLY


def flat(model: keras.Model) -> keras.Model:
    """Return the model without models inside, and without layers that only act in training.

    Its layers are copies in float32.
    """
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

        model = rebuilt(model, lay_flat, copy=False)

    def skip_idle(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        return args[0] if _is_idle(layer, args[0]) else layer(*args, **kwargs)

    return rebuilt(model, skip_idle)


def _is_idle(layer: keras.Layer, values: Any) -> bool:
    """Whether a layer changes nothing when the model classifies."""
    if isinstance(layer, keras.layers.RandomCrop):
        return bool(tuple(values.shape[1:3]) == (layer.height, layer.width))
    if isinstance(layer, keras.layers.Activation):
        return bool(layer.activation is keras.activations.linear)
    return isinstance(layer, TRAINING_ONLY)


def rebuilt(
    model: keras.Model,
    call: Any = lambda layer, *args, **kwargs: layer(*args, **kwargs),
    copy: bool = True,
) -> keras.Model:
    """Return the model with each layer called by `call`; with `copy`, layers are copies.

    The copies are in float32.
    """

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
            layer.finalize_state()  # computes its constants from its weights
    return rebuilt


def maker(tensor: Any) -> Any:
    """Return the layer or operation that makes a Keras tensor."""
    return tensor._keras_history.operation
