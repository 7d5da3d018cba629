"""`edgecat export`."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecat.cli.declarations import either
from edgecat.cli.describing import Labels, Mean, Std, described
from edgecat.cli.output import ProgressLine, complain, needs_export_extra, quiet_libraries
from edgecat.cli.tables import architectures, checkpoints, formats
from edgecat.errors import EdgecatError

if TYPE_CHECKING:
    from edgecat_export.job import Built
    from edgecat_export.request import Exported

EXPLAINED_LAYERS = 15


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE.keras",
            help=f"{either(checkpoints())}, checkpoints of the package, or a Keras file of your "
            f"own; with --weights, {either(architectures(having='imagenet'))}.",
            show_default=False,
        ),
    ],
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Whole integers: a quarter of the size, the fastest on small boards. The default.",
        ),
    ] = False,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Half-precision weights: half the size.")
    ] = False,
    fp32: Annotated[bool, typer.Option("--fp32", help="As trained.")] = False,
    format_: Annotated[
        str, typer.Option("--format", help=f"{either((*formats(), 'all'))}.")
    ] = "all",
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder of class folders of training photos, or LABEL=FOLDER, or of photos of any "
            "kind: calibrate int8 on some and verify on others. May be given several times.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Not the checkpoint, but the 1,000-class ImageNet model of NAME: imagenet "
            "(downloaded) or a FILE of its weights.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=32,
            max=1024,
            help="With --weights: width and height of the input in pixels; else the "
            "architecture's own.",
        ),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="With --weights: width multiplier of its layers; else the architecture's own.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
    name: Annotated[
        str | None,
        typer.Option(help="What to call the model; else as its checkpoint.", show_default=False),
    ] = None,
    labels: Labels = None,
    mean: Mean = None,
    std: Std = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Points of accuracy that may be lost on --data. "
            "\\[default: 0.05, 0.1 and 0.5 for fp32, fp16 and int8]",
            show_default=False,
        ),
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of best labels that must be the same. "
            "\\[default: 0.98 for int8 on --data; see the README]",
            show_default=False,
        ),
    ] = None,
    io: Annotated[
        str,
        typer.Option(
            help="What int8 TFLite files read and give: uint8 (MediaPipe and others want it) "
            "or int8.",
        ),
    ] = "uint8",
    mixed: Annotated[
        bool,
        typer.Option(
            "--mixed",
            help="Where int8 still falls short, keep the layers that lose most in float32. "
            "Accelerators for integers refuse such files.",
        ),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which layers int8 costs most.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Decides which photos calibrate and which verify.")] = 1,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite files that edgecat did not make.")
    ] = False,
) -> None:
    """Convert and quantise a Keras checkpoint, and prove that the files still answer right.

    Each file is run with the engine that the device will use and compared with Keras. One that
    falls short is not written, and the exit status is 1.

    [bold]edgecat export mobilenet --int8[/bold]

    [bold]edgecat export runs/mobilenet_v2/model.keras --int8 --fp16 --data photos/training[/bold]

    [bold]edgecat export mobilenet_v2 --weights imagenet --size 224 --int8 --data photos[/bold]
    """
    if weights is None and (size is not None or alpha is not None):
        raise typer.BadParameter("--size and --alpha belong to --weights; a checkpoint has its own")
    if format_ not in (*formats(), "all"):
        expected = either((*formats(), "all"))
        raise typer.BadParameter(
            f"unknown format '{format_}'; expected {expected}", param_hint="--format"
        )
    if io not in ("uint8", "int8"):
        raise typer.BadParameter(f"unknown type '{io}'; expected uint8 or int8", param_hint="--io")
    precisions = [
        precision
        for precision, wanted in (("fp32", fp32), ("fp16", fp16), ("int8", int8))
        if wanted
    ] or ["int8"]
    if weights is not None and "int8" in precisions and not data:
        raise EdgecatError(
            "int8 needs photos to calibrate on, and ImageNet weights bring none; "
            "give a folder of them with --data, or take --fp32 or --fp16"
        )
    progress = ProgressLine()
    with needs_export_extra("exporting"):
        from edgecat_export.checkpoint import find_checkpoint
        from edgecat_export.pipeline import Request
        from edgecat_export.pipeline import export as export_files

        description = described(labels, mean, std)
        with contextlib.ExitStack() as kept:
            if weights is None:
                checkpoint = find_checkpoint(source)
            else:
                checkpoint = _of_imagenet(
                    Path(kept.enter_context(tempfile.TemporaryDirectory())),
                    source,
                    weights,
                    size,
                    alpha,
                )
            request = Request(
                checkpoint,
                out,
                precisions,
                formats() if format_ == "all" else (format_,),
                data or (),
                name,
                force,
                max_drop,
                min_agreement,
                seed,
                description,
                io,
                mixed,
                explain,
            )
            exported = export_files(request, progress.say)
    _show([file for file in exported if file.built])
    for file in exported:
        for problem in file.problems:
            advice = (
                "" if file.failure or not file.built else f"; {_advice(file.built, bool(data))}"
            )
            complain(f"{problem}{advice}")
    written = [file.path for file in exported if file.path]
    if written:
        progress.say(f"next: edgecat classify --model {written[0]} PHOTO")
    if len(written) < len(exported):
        raise typer.Exit(1)


def _show(exported: Sequence[Exported]) -> None:
    """Print the table of files, and below it what is known of classes and layers."""
    if not exported:
        return
    width = max(len(file.name) for file in exported)
    columns = f"{'size':>8}  {'agreement':>9}  {'points lost':>11}  {'one thread':>10}  verified on"
    print(f"{'file':<{width}}  {columns}")
    for file in exported:
        if file.built:
            print(f"{file.name:<{width}}  {_figures(file, file.built)}")
    for file in exported:
        if file.built and file.built.verification.classes:
            classes = ", ".join(
                f"{name} {own:.2%} ({100 * (own - keras):+.2f})"
                for name, (own, keras) in file.built.verification.classes.items()
            )
            print(f"{file.name}: right on {classes}")
    for file in exported:
        if file.built and file.built.noise:
            _show_noise(file.name, file.built.noise)


def _figures(file: Exported, built: Built) -> str:
    verification = built.verification
    lost = "-" if verification.accuracy is None else f"{verification.accuracy_lost:.2f}"
    columns = [
        f"{file.bytes / 1e6:>5.2f} MB",
        f"{verification.agreement:>9.2%}",
        f"{lost:>11}",
        f"{built.latency_ms:>7.2f} ms",
        f"{verification.count} {verification.inputs}",
    ]
    return "  ".join(columns if file.path else [*columns, "NOT WRITTEN"])


def _show_noise(name: str, noise: Mapping[str, tuple[float, float | None]]) -> None:
    print(
        f"\n{name}: signal-to-noise ratio of each layer, worst first: "
        "if it alone were int8, and in the file with all before it"
    )
    for layer, (alone, inside) in list(noise.items())[:EXPLAINED_LAYERS]:
        in_file = "" if inside is None else f"{inside:>5.1f} dB"
        print(f"  {layer:<32}  {alone:>5.1f} dB  {in_file}".rstrip())


def _advice(built: Built, photos: bool) -> str:
    if not photos:
        return "calibrate on photos like yours with --data, or take --fp16"
    if built.float_layers:
        return "take --fp16"
    return (
        "allow layers in float32 with --mixed, or take --fp16; "
        "--explain shows which layers lose most"
    )


def _of_imagenet(
    folder: Path, architecture: str, weights: str, size: int | None, alpha: float | None
) -> Path:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_libraries():
        from edgecat_export.networks.imagenet import imagenet_checkpoint

        return imagenet_checkpoint(folder, architecture, weights, size, alpha)
