"""Options as records. typer reads them and, without typer, `edgecat classify`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from edgecat.engines import DEVICES, ENGINES


class Option(NamedTuple):
    """An option of a command."""

    parameter: str  # of the command's function
    flags: tuple[str, ...]
    help: str
    kind: Callable[[str], Any] | None = None  # converts the word; None for a flag without a value
    minimum: float | None = None
    maximum: float | None = None

    def read(self, word: str) -> Any:
        """Return the value that `word` stands for. Raise ValueError."""
        if self.kind is None:
            raise ValueError(f"{self.flags[0]} takes no value")
        value = self.kind(word)
        if self.minimum is not None and not value >= self.minimum:
            raise ValueError(f"{word} is below {self.minimum}")
        if self.maximum is not None and not value <= self.maximum:
            raise ValueError(f"{word} is above {self.maximum}")
        return value


def either(names: Iterable[str]) -> str:
    """Return names as a phrase: a, b or c."""
    *others, last = tuple(names) or ("-",)
    return f"{', '.join(others)} or {last}" if others else last


MODEL = Option(
    "model",
    ("--model", "-m"),
    "A .tflite or .onnx model file; else the default model.",
    Path,
)
ENGINE = Option(
    "engine", ("--engine",), f"{either(ENGINES)}; else the best that is installed.", str
)
DEVICE = Option(
    "device",
    ("--device",),
    f"What computes: {either(DEVICES)}. Fails where anything else would.",
    str,
)
THREADS = Option(
    "threads", ("--threads",), "Threads of the engine; else one a core, at most 4.", int, 1, 256
)
TOP = Option(
    "top", ("--top",), "Show only the best N labels; else all, of many the best 5.", int, 1
)
THRESHOLD = Option(
    "threshold",
    ("--threshold",),
    "Answer 'unsure' where the best score is below this.",
    float,
    0,
    1,
)
RECURSIVE = Option("recursive", ("--recursive", "-r"), "Look into folders inside folders too.")
JSON = Option("as_json", ("--json",), "One JSON object a line.")
CSV = Option("as_csv", ("--csv",), "CSV with a header.")
