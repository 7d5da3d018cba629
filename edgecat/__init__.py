"""Is there a cat or a dog in this photo? On hardware that costs little, without the cloud."""

from typing import TYPE_CHECKING

from edgecat.card import InputRecipe, ModelCard
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
from edgecat.photo import read_pixels

if TYPE_CHECKING:
    from edgecat.foreign.description import Description
    from edgecat.formats import read_card

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
    """Import what classifying a photo does not need, once it is used."""
    if name == "Description":
        from edgecat.foreign.description import Description

        return Description
    if name == "read_card":
        from edgecat.formats import read_card

        return read_card
    raise AttributeError(f"module 'edgecat' has no attribute '{name}'")
