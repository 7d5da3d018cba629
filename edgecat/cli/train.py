"""`edgecat train`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgecat.cli.output import ProgressLine, needs_export_extra, quiet_libraries
from edgecat.errors import EdgecatError

EPOCHS, LEARNING_RATE = 8, 3e-4  # fine-tuning
HEAD_EPOCHS, HEAD_LEARNING_RATE = 20, 3e-3  # on the features of a frozen base


def train(
    architecture: Annotated[
        str,
        typer.Argument(
            help="efficientnet_lite0, homemade, mobilenet, mobilenet_v2 or resnet50.",
            show_default=False,
        ),
    ] = "",
    data: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders of class folders (cats/, dogs/, …), or LABEL=FOLDER for one class; several are taken together.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Where to start: imagenet (downloaded), none, a FILE of ImageNet weights, or a checkpoint (.keras) of an earlier run. "
            "\\[default: imagenet; none for homemade]",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Passes over all photos. \\[default: {EPOCHS}; {HEAD_EPOCHS} with --fine-tune 0]",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=32,
            max=1024,
            help="Width and height of the model's input in pixels; else the architecture's own.",
        ),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Width multiplier of the layers, for mobilenet and mobilenet_v2; else the architecture's own.",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Photos a step.")] = 32,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            min=0,
            help=f"Highest learning rate; it falls along a cosine. \\[default: {LEARNING_RATE:g}; {HEAD_LEARNING_RATE:g} with --fine-tune 0]",
            show_default=False,
        ),
    ] = None,
    fine_tune: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Train only this many of the last blocks after the head; else all. 0: the head alone, "
            "on features that are computed once and kept in ~/.cache/edgecat.",
            show_default=False,
        ),
    ] = None,
    mixup: Annotated[
        float,
        typer.Option(
            min=0,
            help="Blend photos in pairs, by shares from Beta(MIXUP, MIXUP); 0 to leave them alone.",
        ),
    ] = 0.2,
    augment: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="How much each photo is changed at random: cropped, turned, blurred, recoloured; 0: mirrored at most.",
        ),
    ] = 1.0,
    distill: Annotated[
        float,
        typer.Option(
            min=0,
            help="Weight of the loss that keeps what the ImageNet weights know of their 1,000 classes; 0: let them be forgotten.",
        ),
    ] = 1.0,
    scenes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Paste a fifth of the photos, small, into the photos of this origin (the "
            "beginning of their names, up to the first _, or their folder): for animals far away. "
            "May be given several times.",
            show_default=False,
        ),
    ] = None,
    detail: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=1,
            help="Share of --size that a JPEG has to be decoded at, at least: 0.8 is quicker for many sizes of photos; judge what it costs.",
        ),
    ] = 1.0,
    validation: Annotated[
        float,
        typer.Option(
            min=0.001, max=0.5, help="Share of each class held back to choose the best epoch."
        ),
    ] = 0.05,
    seed: Annotated[
        int, typer.Option(help="Decides the split, the order and every augmentation.")
    ] = 1,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="A file name to leave out; may be given several times.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run folder. \\[default: runs/ARCHITECTURE]", show_default=False),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with the interrupted run in this folder; nothing else need be given.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a classifier on folders of photos; writes a run folder with the best checkpoint.

    The network starts from ImageNet weights: first a new last layer is trained, then all of it.
    A part of the photos is held back to choose the best epoch; in the end, the exported file itself
    answers them. Ctrl-C loses at most one epoch: edgecat train --resume RUN goes on.

    [bold]edgecat train mobilenet_v2 photos/training[/bold]   (photos/training/cats, photos/training/dogs)

    [bold]edgecat train resnet50 photos/training --fine-tune 0[/bold]   (its last layer alone: minutes)
    """
    if resume is None and (not architecture or not data):
        raise typer.BadParameter("give an architecture and at least one folder, or --resume RUN")
    training = _host_side()
    progress = ProgressLine()
    try:
        if resume is not None:
            folder = resume
            checkpoint = training.resume(folder, progress)
        else:
            folder = out or Path("runs") / architecture
            if (folder / "model.keras").exists():
                raise EdgecatError(
                    f"{folder}: holds a run already; go on with 'edgecat train --resume {folder}', or give another --out"
                )
            from edgecat_export.architectures import find_architecture

            found = find_architecture(architecture, alpha)
            weights = weights or ("imagenet" if found.imagenet else "none")
            asked = training.Training(
                architecture=architecture,
                data=tuple(data or ()),
                weights=None if weights == "none" else weights,
                alpha=alpha or found.alpha,
                size=size or found.size,
                epochs=epochs or (HEAD_EPOCHS if fine_tune == 0 else EPOCHS),
                batch=batch,
                learning_rate=learning_rate
                or (HEAD_LEARNING_RATE if fine_tune == 0 else LEARNING_RATE),
                fine_tune=fine_tune,
                mixup=mixup,
                augment=augment,
                validation=validation,
                seed=seed,
                exclude=tuple(exclude or ()),
                detail=detail,
                distill=distill,
                scenes=tuple(scenes or ()),
            )
            checkpoint = training.start(folder, asked, progress)
    except KeyboardInterrupt:
        progress.end()
        print(f"edgecat: interrupted; go on with: edgecat train --resume {folder}", file=sys.stderr)
        raise typer.Exit(130) from None
    progress.end()
    print(checkpoint)
    print(
        f"next: edgecat export {checkpoint} --int8 --data {' '.join(data or training.read_training(folder).data)}",
        file=sys.stderr,
    )


def _host_side() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with needs_export_extra("training"), quiet_libraries():
        from edgecat_export import train as training
    return training
