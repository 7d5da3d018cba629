"""Errors that edgecat raises: each says what happened, what was expected and how to fix it.

EdgecatError
├── PhotoError      a photo that cannot be read
├── ModelError      a model file that cannot be used
├── EngineError     an engine that is missing or refuses the model
├── CloudError      a cloud service that refuses, or cannot be reached
├── DataError       a folder of photos that cannot be trained or evaluated on
└── ExportError     a conversion that failed or was not proven right
"""


class EdgecatError(Exception):
    """The base class of edgecat's errors. The message is one line for people."""


class PhotoError(EdgecatError):
    """A photo that cannot be read."""


class ModelError(EdgecatError):
    """A model file or checkpoint that cannot be used."""


class EngineError(EdgecatError):
    """An engine that is not installed or refuses the model."""


class CloudError(EdgecatError):
    """A cloud service that refuses a request, or cannot be reached."""


class DataError(EdgecatError):
    """A folder of photos that cannot be trained or evaluated on."""


class ExportError(EdgecatError):
    """A conversion that failed, or whose result does not agree with the original model."""
