"""Export formats: one module and one row of the table for each. The table needs no Keras."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import keras

    from edgecat.card import ModelCard
    from edgecat_export.quantisation.observation import Array
    from edgecat_export.quantisation.statistics import Ranges


class Converter(Protocol):
    """The functions of a format's module."""

    def to_float(self, folded: keras.Model, precision: str) -> bytes:
        """Return a file in fp32 or fp16. Raise ExportError that names the layer at fault."""

    def to_int8(
        self,
        folded: keras.Model,
        ranges: Ranges,
        io: str = "uint8",
        float_layers: Collection[str] = (),
    ) -> bytes:
        """Return a file in int8; `float_layers` stay in float32.

        `io` is the type of its input and output where the format has a choice.
        """

    def describe(self, model: bytes, card: ModelCard) -> bytes:
        """Return the file with the metadata that other runtimes read."""

    def layer_noise(self, file: Path, folded: keras.Model, photos: Array) -> Mapping[str, float]:
        """Return the signal-to-noise ratio (dB) of each weighted layer in an int8 file.

        Empty if the format's engine does not show the layers' outputs.
        """


@dataclass(frozen=True)
class Format:
    """One row of the table."""

    module: str
    tools: tuple[str, ...]  # distributions whose versions the model card records
    opset: int | None = None

    def converter(self) -> Converter:
        """Import Keras and the libraries of the format."""
        return cast(Converter, import_module(self.module))

    def versions(self) -> dict[str, str]:
        """Return the versions of the tools that are installed."""
        versions = {}
        for tool in ("edgecat", "keras", *self.tools):
            try:
                versions[tool] = version(tool)
            except PackageNotFoundError:  # one of the two TensorFlows
                continue
        return versions | ({} if self.opset is None else {"opset": str(self.opset)})


FORMATS = {
    "tflite": Format(
        "edgecat_export.formats.tflite", ("tensorflow-cpu", "tensorflow", "ai-edge-quantizer")
    ),
    "onnx": Format(
        "edgecat_export.formats.onnx",
        ("tf2onnx", "onnx", "onnxruntime"),
        opset=17,  # one below the newest that tf2onnx 1.17 is tested with
    ),
}
