"""Options that commands share, as typer reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgecat.cli import declarations
from edgecat.cli.declarations import Option


def declared(option: Option, *, show_default: bool = True) -> Any:
    """Return typer's option for a record."""
    return typer.Option(
        *option.flags,
        help=option.help,
        min=option.minimum,
        max=option.maximum,
        show_default=show_default,
    )


Model = Annotated[Path | None, declared(declarations.MODEL, show_default=False)]
Models = Annotated[
    list[Path] | None,
    typer.Option(
        *declarations.MODEL.flags,
        help="A .tflite or .onnx model file; several to compare them; else the default model.",
        show_default=False,
    ),
]
Engine = Annotated[str | None, declared(declarations.ENGINE, show_default=False)]
Device = Annotated[str, declared(declarations.DEVICE)]
Threads = Annotated[int | None, declared(declarations.THREADS, show_default=False)]

# Of `edgecat classify` alone; here because it reads them without typer too.
Top = Annotated[int | None, declared(declarations.TOP, show_default=False)]
Threshold = Annotated[float, declared(declarations.THRESHOLD)]
Recursive = Annotated[bool, declared(declarations.RECURSIVE)]
AsJson = Annotated[bool, declared(declarations.JSON)]
AsCsv = Annotated[bool, declared(declarations.CSV)]
