"""InputRecipe and ModelCard: what a model file says of itself."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from edgecat.errors import ModelError

if TYPE_CHECKING:
    import numpy.typing as npt

FORMAT_VERSION = 1
Channels: TypeAlias = "float | tuple[float, float, float]"  # for all of RGB, or one for each


@dataclass(frozen=True)
class InputRecipe:
    """How photos are prepared for a model. Raise ValueError if a value is not possible.

    `resize` "squash" scales the whole photo to `height` x `width` and ignores its shape, so that
    nothing at the edges is lost. MediaPipe's ImageClassifier does the same by default. "crop"
    scales the shorter side to the size divided by `crop`, keeps the shape, and takes the middle,
    as torchvision, timm (whose crop_pct is `crop`) and Ultralytics (1.0) do.

    `detail` below 1 decodes JPEGs at `detail` x the scaled size at least, then upscales: faster,
    slightly softer.

    The input is `(pixel - mean) / std`, pixel in 0..255, with one value for all of RGB or one
    for each. With mean and std 128 an int8 input represents every pixel value exactly.
    """

    height: int  # pixels
    width: int  # pixels
    resize: Literal["squash", "crop"] = "squash"
    mean: Channels = 128.0
    std: Channels = 128.0
    crop: float = 1.0  # share of the scaled shorter side that is kept, above 0
    detail: float = 1.0  # least share of the scaled width and height to decode a JPEG at

    def __post_init__(self) -> None:
        if self.resize not in ("squash", "crop"):
            raise ValueError(f"resize '{self.resize}', expected squash or crop")
        if not (self.height >= 1 and self.width >= 1 and 0.1 <= self.crop <= 1):
            raise ValueError(
                f"{self.height} x {self.width} pixels, crop {self.crop}, "
                "expected a size of at least 1 x 1 and a crop of 0.1 to 1"
            )
        if not 0.1 <= self.detail <= 1:
            raise ValueError(f"detail {self.detail}, expected 0.1 to 1")
        if self.resize == "squash" and self.crop != 1:
            raise ValueError(f"crop {self.crop} with resize 'squash', expected 1")
        for name in ("mean", "std"):
            values = np.asarray(getattr(self, name), np.float64)
            possible = values.shape in ((), (3,)) and bool(np.isfinite(values).all())
            if not possible or (name == "std" and (values <= 0).any()):
                limit = " above 0" if name == "std" else ""
                raise ValueError(
                    f"{name} {getattr(self, name)}, expected one number or three{limit}"
                )

    @property
    def scaled(self) -> tuple[int, int]:
        """The least (width, height) to scale a photo to, before it is cropped."""
        return int(self.width / self.crop), int(self.height / self.crop)

    @property
    def least(self) -> tuple[int, int]:
        """The least (width, height) to decode a JPEG at."""
        width, height = self.scaled
        return math.ceil(width * self.detail), math.ceil(height * self.detail)

    def normalise(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the model's input. The last axis of `pixels` is RGB if mean or std are three."""
        mean, std = (np.asarray(values, np.float32) for values in (self.mean, self.std))
        normalised: npt.NDArray[np.float32] = (pixels.astype(np.float32) - mean) / std
        return normalised


@dataclass(frozen=True)
class ModelCard:
    """The record inside a model file. Raise ValueError if `scores` is unknown."""

    name: str
    architecture: str
    labels: tuple[str, ...]  # in the order of the model's outputs
    input: InputRecipe
    precision: str = "fp32"  # or fp16, int8
    groups: Mapping[str, str] = field(default_factory=dict)  # label -> group, if they differ
    training: Mapping[str, Any] = field(default_factory=dict)  # photos per class, digest, settings
    calibration: Mapping[str, Any] = field(default_factory=dict)  # photos, their digest, seed
    evaluation: Mapping[str, Any] = field(default_factory=dict)  # data, accuracy of each class
    # Verified on what, agreement, accuracy drop, largest difference of scores.
    verification: Mapping[str, Any] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)  # command, checkpoint and its sha256
    versions: Mapping[str, str] = field(default_factory=dict)  # of the tools that made it
    licence: str = ""
    sha256: str = ""  # of the file's bytes without the card
    format_version: int = FORMAT_VERSION
    scores: Literal["probabilities", "logits"] = "probabilities"  # logits need a softmax

    def __post_init__(self) -> None:
        if not all(isinstance(label, str) for label in self.labels):
            raise ValueError("labels that are no texts")
        if isinstance(self.labels, str) or len(set(self.labels)) < len(self.labels):
            raise ValueError("labels, expected a list of texts, each once")
        for name in ("groups", "training", "calibration", "evaluation", "verification", "made_by"):
            if not isinstance(getattr(self, name), Mapping):
                raise TypeError(f"{name} is no object")
        if not all(isinstance(group, str) for group in self.groups.values()):
            raise TypeError("a group that is no text")
        if self.scores not in ("probabilities", "logits"):
            raise ValueError(f"scores '{self.scores}', expected probabilities or logits")

    def to_json(self) -> str:
        """Return the card as JSON, as it is stored."""
        import json

        record = dataclasses.asdict(self)
        # Defaults that earlier versions did not write are left out.
        if self.scores == "probabilities":
            del record["scores"]
        for key in ("crop", "detail"):
            if record["input"][key] == 1:
                del record["input"][key]
        return json.dumps(record, ensure_ascii=False, indent=1)

    @staticmethod
    def from_json(text: str | bytes, source: str) -> ModelCard:
        """Return the card of a JSON text. Raise ModelError, which names `source`.

        Keys that this version does not know are ignored.
        """
        import json

        try:
            record = _known(ModelCard, json.loads(text))
            recipe = _known(InputRecipe, record["input"])
            for key, value in recipe.items():
                if isinstance(value, list):
                    recipe[key] = tuple(value)
            if not isinstance(record["labels"], list):
                raise TypeError("labels, expected a list")
            record |= {"labels": tuple(record["labels"]), "input": InputRecipe(**recipe)}
            return ModelCard(**record)
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as error:
            raise ModelError(
                f"{source}: its model card cannot be read ({error!r}); export the model again"
            ) from None


def _known(kind: Any, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of `record` that are fields of the dataclass `kind`."""
    names = {known.name for known in dataclasses.fields(kind)}
    return {key: value for key, value in record.items() if key in names}


def typed(words: Sequence[str]) -> str:
    """Return a command with base names only, so that it does not show where it ran."""
    import shlex

    return shlex.join(map(base_names, words))


def base_names(word: str) -> str:
    """Return a word of a command without folders: `cat=data/cats` -> `cat=cats`."""
    name, equals, path = word.rpartition("=")
    return (
        f"{name}{equals}{os.path.basename(os.path.realpath(path))}"
        if os.sep in path or path in (".", "..")
        else word
    )
