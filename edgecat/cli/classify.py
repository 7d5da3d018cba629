"""The typer command `edgecat classify`."""

from __future__ import annotations

from typing import Annotated

import typer

from edgecat.cli import classifying
from edgecat.cli.cloud import CloudVisionOption, YesOption
from edgecat.cli.describing import describing
from edgecat.cli.options import (
    AsCsv,
    AsJson,
    Device,
    Engine,
    Model,
    Recursive,
    Threads,
    Threshold,
    Top,
)
from edgecat.foreign.description import Description


@describing
def classify(
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO...",
            help="Photos, folders, patterns such as 'shots/*.jpg', or - for standard input: "
            "a photo, or names of photos, one a line.",
            show_default=False,
        ),
    ],
    model: Model = None,
    top: Top = None,
    threshold: Threshold = 0.0,
    recursive: Recursive = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    engine: Engine = None,
    device: Device = "cpu",
    threads: Threads = None,
    cloud_vision: CloudVisionOption = False,
    yes: YesOption = False,
    description: Description | None = None,
) -> None:
    """Say what photos show: a cat, a dog, or neither.

    JPEG, PNG, WebP, BMP, GIF (its first frame) and TIFF. A photo that cannot be read is named on
    stderr, the others are still classified, and the exit status is 1.

    [bold]edgecat classify photo.jpg[/bold]

    [bold]edgecat classify ~/Pictures --recursive --csv > pets.csv[/bold]

    [bold]curl -s URL | edgecat classify - --json[/bold]

    [bold]find . -name '*.jpg' | edgecat classify -[/bold]   each answered as its line arrives
    """
    if as_json and as_csv:
        raise typer.BadParameter("give --json or --csv, not both")
    if cloud_vision and (model or engine or threads or description or device != "cpu"):
        raise typer.BadParameter("--cloud-vision takes no model, and no option of one")
    classifying.classify(
        photos,
        model=model,
        top=top,
        threshold=threshold,
        recursive=recursive,
        as_json=as_json,
        as_csv=as_csv,
        engine=engine,
        device=device,
        threads=threads,
        cloud_vision=cloud_vision,
        yes=yes,
        description=description,
    )
