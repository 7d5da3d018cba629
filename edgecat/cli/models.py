"""`edgecat models`."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from edgecat.cli.output import table
from edgecat.errors import DataError, ModelError
from edgecat.formats import read_card
from edgecat.models import DEFAULT_MODEL

SUFFIXES = (".tflite", ".onnx", ".keras")
SHOWN_LABELS = 3


def models(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FOLDER...]",
            help="Where to look; else the current folder.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the models of the package, the names for `edgecat export`, and a folder's models.

    [bold]edgecat models[/bold]

    [bold]edgecat models exported --json[/bold]
    """
    found = [*_shipped(), *(row for folder in folders or [Path()] for row in _in_folder(folder))]
    if as_json:
        for row in found:
            print(json.dumps(row, ensure_ascii=False))
        return
    headings = ("name", "precision", "size", "labels", "input", "accuracy", "file")
    print(*table([headings, *map(_cells, found)], align="<"), sep="\n")


def _shipped() -> Iterator[dict[str, Any]]:
    yield _row(DEFAULT_MODEL, "what classify takes")
    if importlib.util.find_spec("edgecat_export") is not None:
        from edgecat_export.checkpoint import SHIPPED

        for path in sorted(SHIPPED.glob("*.keras")):
            yield _row(path, f"edgecat export {path.stem}")


def _in_folder(folder: Path) -> Iterator[dict[str, Any]]:
    if not folder.is_dir():
        problem = "not a folder" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {problem}; expected a folder of model files")
    for path in sorted(folder.iterdir()):
        if path.suffix in SUFFIXES and not path.name.startswith(".") and path.is_file():
            yield _row(path)


def _row(path: Path, use: str | None = None) -> dict[str, Any]:
    """`use` tells how to reach a model of the package."""
    row: dict[str, Any] = {"file": str(path), "bytes": path.stat().st_size, "use": use}
    try:
        card = read_card(path)
    except ModelError as error:
        return row | {"error": str(error).removeprefix(f"{path}: ")}
    accuracy = card.verification.get("accuracy", card.evaluation.get("accuracy"))
    row |= {
        "name": card.name,
        "architecture": card.architecture,
        "precision": card.precision,
        "labels": card.labels,
    }
    return row | {"input": [card.input.height, card.input.width], "accuracy": accuracy}


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    size, where = f"{row['bytes'] / 1e6:.2f} MB", row["use"] or row["file"]
    if "error" in row:
        return ("-", "-", size, "-", "-", "-", f"{where}: {row['error']}")
    labels = (
        ", ".join(row["labels"]) if len(row["labels"]) <= SHOWN_LABELS else str(len(row["labels"]))
    )
    accuracy = "-" if row["accuracy"] is None else f"{row['accuracy']:.2%}"
    return (
        row["name"],
        row["precision"],
        size,
        labels,
        "{} x {}".format(*row["input"]),
        accuracy,
        where,
    )
