"""`edgecat info`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from edgecat.card import ModelCard
from edgecat.cli.output import numbers_of, rule_of, table
from edgecat.labels import Groups
from edgecat.measure.network.inspection import Inspection, inspect
from edgecat.measure.network.network import TensorInfo

SHOWN_LABELS = 10


def info(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A .tflite, .onnx or .keras model file, whoever made it.",
            show_default=False,
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object, with the whole card.")
    ] = False,
) -> None:
    """Show what is inside a model file: card, tensors, operations, sizes, and work of one photo.

    [bold]edgecat info mobilenet-int8.tflite[/bold]
    """
    found = inspect(file)
    if as_json:
        print(
            json.dumps({**dataclasses.asdict(found), "path": str(found.path)}, ensure_ascii=False)
        )
        return
    print(*table(list(_lines(found)), align="<"), sep="\n")


def _lines(found: Inspection) -> Iterator[tuple[str, str]]:
    network = found.network
    yield (
        "file",
        f"{found.path}, {found.bytes / 1e6:.2f} MB, weights {network.weights_bytes / 1e6:.2f} MB",
    )
    if found.card is None:
        yield "card", f"no model card; {found.card_missing}"
    else:
        yield from _card_lines(found.card)
    for kind, tensors in (("input", network.inputs), ("output", network.outputs)):
        for tensor in tensors:
            yield kind, _tensor(tensor)
    yield "operations", ", ".join(f"{count} {name}" for name, count in network.operations.items())
    yield (
        "work",
        "unknown, a shape is free"
        if network.macs is None
        else f"{network.macs / 1e6:.1f} million multiply-accumulates a photo",
    )


def _card_lines(card: ModelCard) -> Iterator[tuple[str, str]]:
    recipe = card.input
    yield (
        "model",
        f"{card.name}: {card.architecture}, {card.precision}"
        + (f", licence {card.licence}" if card.licence else ""),
    )
    more = len(card.labels) - SHOWN_LABELS
    yield (
        "labels",
        ", ".join(card.labels[:SHOWN_LABELS]) + (f" and {more} more" if more > 0 else ""),
    )
    if card.groups:
        yield "groups", ", ".join(sorted(Groups(card.labels, card.groups).names))
    mean, std = (
        f"({numbers_of(values)})" if isinstance(values, tuple) else numbers_of(values)
        for values in (recipe.mean, recipe.std)
    )
    jpeg = "" if recipe.detail == 1 else f", JPEGs decoded at {recipe.detail:g} of that or more"
    yield (
        "reads",
        f"{recipe.width} x {recipe.height} pixels, {rule_of(recipe)}, "
        f"(pixel - {mean}) / {std}{jpeg}",
    )
    if photos := card.calibration.get("photos"):
        yield "calibrated", f"on {photos} photos"
    if "accuracy" in card.evaluation:
        yield (
            "accuracy",
            f"{card.evaluation['accuracy']:.2%}, {card.evaluation.get('data', 'data unknown')}",
        )
    for origin, labels in card.evaluation.get("origins", {}).items():
        found = (f"{label} {of['accuracy']:.1%} of {of['photos']}" for label, of in labels.items())
        yield "", f"{origin}: {', '.join(found)}"
    if "agreement" in card.verification:
        seen = card.verification
        by = " by group" if seen.get("counted_by") == "group" else ""
        lost = (
            f", accuracy{by} {seen['accuracy']:.2%}, of Keras {seen['accuracy_of_keras']:.2%}"
            if "accuracy" in seen
            else ""
        )
        yield (
            "verified",
            f"on {seen['count']} {seen['inputs']}: "
            f"agreement with Keras {seen['agreement']:.2%}{lost}",
        )


def _tensor(tensor: TensorInfo) -> str:
    steps = "" if tensor.scale is None else f", {tensor.scale:g} x (integer - {tensor.zero_point})"
    return f"{tensor.name}  ({', '.join(map(str, tensor.shape))}) {tensor.dtype}{steps}"
