"""`edgecat label`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecat.cli.describing import describing
from edgecat.cli.output import ProgressLine, numbers_of, quiet_libraries, rule_of
from edgecat.foreign.description import Description


@describing
def label(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="A .tflite or .onnx classifier.", show_default=False),
    ],
    description: Description | None = None,
    name: Annotated[
        str | None,
        typer.Option(help="What to call the model; else as its file.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write; else MODEL-labelled beside it.", show_default=False),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Put the card into MODEL itself.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a file that 'edgecat label' did not make.")
    ] = False,
) -> None:
    """Write labels and input recipe into a model that edgecat did not make, so that it needs \
nothing beside it.

    What the file says of itself is taken from there, and kept; what it does not say must be given.
    A file that was labelled before can be changed.

    [bold]edgecat label mobilenet_v1.tflite --labels labels.txt[/bold]

    [bold]edgecat label resnet.onnx --labels cat,dog --mean 123.675,116.28,103.53 \
--std 58.395,57.12,57.375 --resize crop:0.875 --logits[/bold]
    """
    if out is not None and in_place:
        raise typer.BadParameter("give --out or --in-place, not both")
    from edgecat.foreign import card as foreign

    given = description or Description()
    target = model if in_place else out or model.with_name(f"{model.stem}-labelled{model.suffix}")
    with quiet_libraries():
        card, sources = foreign.label(model, target, given, name, force or in_place)
    recipe = card.input
    few = ", ".join(card.labels[:3]) + (", …" if len(card.labels) > 3 else "")
    print(target)
    for what, said, field in (
        ("labels", f"{len(card.labels)}: {few}", "labels"),
        ("mean", numbers_of(recipe.mean), "mean"),
        ("std", numbers_of(recipe.std), "std"),
        ("photo", f"{recipe.height} x {recipe.width} pixels, {rule_of(recipe)}", "resize"),
        ("outputs", card.scores, "logits"),
    ):
        source = sources[field] if sources[field] == foreign.GIVEN else f"from {sources[field]}"
        print(f"  {what:<8} {said:<40} {source}")
    ProgressLine().say(f"next: edgecat classify --model {target} PHOTO")
