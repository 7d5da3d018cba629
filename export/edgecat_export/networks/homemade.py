"""The network of the student report that edgecat starts from."""

from __future__ import annotations

import keras


def homemade(
    input_shape: tuple[int, int, int],
    weights: None = None,
    include_top: bool = False,
    pooling: str = "avg",
) -> keras.Model:
    """Return the network up to its features; the arguments are those of `keras.applications`."""
    pixels = keras.Input(input_shape)
    maps = keras.layers.Conv2D(32, 3, activation="relu", name="conv")(pixels)
    maps = keras.layers.Flatten(name="flatten")(keras.layers.MaxPooling2D(2, name="pool")(maps))
    # The four million weights behind it would memorise the photos.
    maps = keras.layers.Dropout(0.4, name="drop_maps")(maps)
    features = keras.layers.Dense(128, activation="relu", name="dense")(maps)
    return keras.Model(pixels, features)
