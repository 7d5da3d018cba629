"""`edgecat export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecat.cli.output import ProgressLine, complain, needs_export_extra


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE.keras", help="mobilenet or mobilenet_v2, whose checkpoints come along, or a Keras file of your own.", show_default=False
        ),
    ],
    int8: Annotated[bool, typer.Option("--int8", help="Whole integers: a quarter of the size, the fastest on small boards. The default.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Half-precision weights: half the size.")] = False,
    fp32: Annotated[bool, typer.Option("--fp32", help="As trained.")] = False,
    format_: Annotated[str, typer.Option("--format", help="tflite, onnx or all.")] = "all",
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder of class folders of training photos, or LABEL=FOLDER: calibrate int8 on some and verify on others. May be given several times.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
    name: Annotated[str | None, typer.Option(help="What to call the model; else as its checkpoint.", show_default=False)] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="FILE|a,b,…", help="For a .keras file that edgecat did not train: what its outputs mean, in order.", show_default=False),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(help="The same: it reads (pixel - mean) / std, pixel in 0..255; one number, or three for red, green and blue.", show_default=False),
    ] = None,
    std: Annotated[str | None, typer.Option(help="See --mean.", show_default=False)] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(min=0, help="Points of accuracy that may be lost on --data. [default: 0.05, 0.1 and 0.5 for fp32, fp16 and int8]", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which photos calibrate and which verify.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that edgecat did not make.")] = False,
) -> None:
    """Convert and quantise a Keras checkpoint to TFLite and ONNX, and prove that the files still answer right.

    Each file is run with the engine that the device will use and compared with Keras. One that falls
    short is not written, and the exit status is 1.

    [bold]edgecat export mobilenet --int8[/bold]

    [bold]edgecat export runs/mobilenet_v2/model.keras --int8 --fp16 --data photos/training[/bold]
    """
    formats = {"tflite": ("tflite",), "onnx": ("onnx",), "all": ("tflite", "onnx")}.get(format_)
    if formats is None:
        raise typer.BadParameter(f"unknown format '{format_}'; expected tflite, onnx or all", param_hint="--format")
    precisions = [precision for precision, wanted in (("fp32", fp32), ("fp16", fp16), ("int8", int8)) if wanted] or ["int8"]
    progress = ProgressLine()
    with needs_export_extra("exporting"):
        from edgecat_export.checkpoint import find_checkpoint
        from edgecat_export.given import Given
        from edgecat_export.pipeline import export as export_files

        given = Given.parse(labels, mean, std)
        exported = export_files(find_checkpoint(source), out, precisions, formats, data or (), name, force, max_drop, seed, progress.say, given)
    width = max(len(file.name) for file in exported)
    print(f"{'file':<{width}}  {'size':>8}  {'agreement':>9}  {'points lost':>11}  verified on")
    for file in exported:
        seen = file.verification
        lost = "-" if seen.accuracy is None else f"{seen.accuracy_lost:.2f}"
        print(
            f"{file.name:<{width}}  {file.bytes / 1e6:>5.2f} MB  {seen.agreement:>9.2%}  {lost:>11}  {seen.count} {seen.inputs}"
            + ("" if file.path else "  NOT WRITTEN")
        )
    for file in exported:
        for shortfall in file.shortfalls:
            complain(f"{file.name}: not written: {shortfall}; calibrate on photos like yours with --data, or take --fp16")
    written = [file.path for file in exported if file.path]
    if written:
        progress.say(f"next: edgecat classify --model {written[0]} PHOTO")
    if len(written) < len(exported):
        raise typer.Exit(1)
