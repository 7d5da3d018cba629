"""Is there a cat or a dog in this photo? On hardware that costs little, without the cloud."""

from typing import TYPE_CHECKING

from edgecat.classifier import Classification, Classifier, Score, classify
from edgecat.errors import (
    CloudError,
    DataError,
    EdgecatError,
    EngineError,
    ExportError,
    ModelError,
    PhotoError,
)
from edgecat.model_file import ModelCard, read_card
from edgecat.photo import InputRecipe, read_pixels

if TYPE_CHECKING:
    from edgecat.foreign.description import Description

__all__ = [
    "Classification",
    "Classifier",
    "CloudError",
    "DataError",
    "Description",
    "EdgecatError",
    "EngineError",
    "ExportError",
    "InputRecipe",
    "ModelCard",
    "ModelError",
    "PhotoError",
    "Score",
    "classify",
    "read_card",
    "read_pixels",
]


def __getattr__(name: str) -> object:
    if (
        name == "Description"
    ):  # of models that edgecat did not make: the others need not wait for it
        from edgecat.foreign.description import Description

        return Description
    raise AttributeError(f"module 'edgecat' has no attribute '{name}'")
