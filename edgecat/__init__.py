"""Is there a cat or a dog in this photo? On hardware that costs little, without the cloud."""

from edgecat.classifier import Classification, Classifier, Score, classify
from edgecat.description import Description
from edgecat.errors import CloudError, DataError, EdgecatError, EngineError, ExportError, ModelError, PhotoError
from edgecat.model_file import ModelCard, read_card
from edgecat.photo import InputRecipe, read_pixels

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
