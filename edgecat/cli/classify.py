"""`edgecat classify`, as typer reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecat.cli import classifying
from edgecat.cli.cloud import CloudVisionOption, YesOption
from edgecat.cli.describing import describing
from edgecat.foreign.description import Description


@describing
def classify(
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO...",
            help="Photos, folders, patterns such as 'shots/*.jpg', or - for standard input: a photo, or names of photos, one a line.",
            show_default=False,
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="A .tflite or .onnx model file; else the one that comes along.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Show only the best N labels; else all, of many the best 5.",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(min=0, max=1, help="Answer 'unsure' where the best score is below this."),
    ] = 0.0,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into folders inside folders too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV with a header.")] = False,
    engine: Annotated[
        str | None,
        typer.Option(
            help="litert, tflite-runtime, tensorflow or onnxruntime; else the best that is installed.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            help="What computes: cpu, gpu, cuda, tensorrt, coreml or directml. Fails where anything else would."
        ),
    ] = "cpu",
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Threads of the engine; else one a core, at most 4.", show_default=False
        ),
    ] = None,
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

    [bold]find . -name '*.jpg' | edgecat classify -[/bold]   each answered as soon as its line is there, by one process that stays warm
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
