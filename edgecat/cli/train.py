"""`edgecat train`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecat.classifier import Classifier
from edgecat.cli.declarations import either
from edgecat.cli.output import ProgressLine, needs_export_extra, quiet_libraries
from edgecat.cli.tables import architectures
from edgecat.errors import EdgecatError, ExportError
from edgecat.formats import read_card
from edgecat.measure.accuracy import LabelledPhoto, evaluate

if TYPE_CHECKING:
    from edgecat_export.dataset import Dataset
    from edgecat_export.training.run_folder import RunFolder

EPOCHS, LEARNING_RATE = 8, 3e-4  # fine-tuning
HEAD_EPOCHS, HEAD_LEARNING_RATE = 20, 3e-3  # on the features of a frozen base
NOT_THE_SAME = 0.01  # less accuracy than Keras by more than this is worth a warning


def _without_imagenet() -> tuple[str, ...]:
    have = architectures(having="imagenet")
    return tuple(name for name in architectures() if name not in have)


def train(
    architecture: Annotated[
        str,
        typer.Argument(
            help=f"{either(architectures())}.",
            show_default=False,
        ),
    ] = "",
    data: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders of class folders (cats/, dogs/, …), or LABEL=FOLDER for one class; "
            "several are taken together.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Where to start: imagenet (downloaded), none, a FILE of ImageNet weights, or a "
            "checkpoint (.keras) of an earlier run. "
            f"\\[default: imagenet; none for {either(_without_imagenet())}]",
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
            help="Width multiplier of the layers, for "
            f"{' and '.join(architectures(having='alpha'))}; else the architecture's own.",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Photos a step.")] = 32,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Highest learning rate; it falls along a cosine. "
            f"\\[default: {LEARNING_RATE:g}; {HEAD_LEARNING_RATE:g} with --fine-tune 0]",
            show_default=False,
        ),
    ] = None,
    fine_tune: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Train only this many of the last blocks after the head; else all. 0: the head "
            "alone, on features that are computed once and kept in ~/.cache/edgecat.",
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
            help="How much each photo is changed at random: cropped, turned, blurred, recoloured; "
            "0: mirrored at most.",
        ),
    ] = 1.0,
    distill: Annotated[
        float,
        typer.Option(
            min=0,
            help="Weight of the loss that keeps what the ImageNet weights know of their 1,000 "
            "classes; 0: let them be forgotten.",
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
            help="Share of --size that a JPEG has to be decoded at, at least: 0.8 is quicker for "
            "many sizes of photos; judge what it costs.",
        ),
    ] = 1.0,
    validation: Annotated[
        float,
        typer.Option(
            min=0.001, max=0.5, help="Share of each class for validation, to choose the best epoch."
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
    Some photos are for validation, to choose the best epoch; the exported file answers them
    in the end. Ctrl-C loses at most one epoch: edgecat train --resume RUN goes on.

    [bold]edgecat train mobilenet_v2 photos/training[/bold]   (with cats/ and dogs/ in it)

    [bold]edgecat train resnet50 photos/training --fine-tune 0[/bold]   (last layer: minutes)
    """
    if resume is None and (not architecture or not data):
        raise typer.BadParameter("give an architecture and at least one folder, or --resume RUN")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with needs_export_extra("training"), quiet_libraries():
        from edgecat_export.architectures import find_architecture
        from edgecat_export.training import run as training
        from edgecat_export.training.options import Options
        from edgecat_export.training.run_folder import RunFolder
    progress = ProgressLine()
    run = RunFolder(resume or out or Path("runs") / architecture)
    try:
        if resume is not None:
            validation_photos = training.resume(run.path, progress)
        else:
            if run.checkpoint.exists():
                raise EdgecatError(
                    f"{run.path}: holds a run already; go on with "
                    f"'edgecat train --resume {run.path}', or give another --out"
                )
            known = find_architecture(architecture, alpha)
            weights = weights or ("imagenet" if known.imagenet else "none")
            frozen = fine_tune == 0
            options = Options(
                architecture=architecture,
                data=tuple(data or ()),
                weights=None if weights == "none" else weights,
                alpha=alpha or known.alpha,
                size=size or known.size,
                epochs=epochs or (HEAD_EPOCHS if frozen else EPOCHS),
                batch=batch,
                learning_rate=learning_rate or (HEAD_LEARNING_RATE if frozen else LEARNING_RATE),
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
            validation_photos = training.start(run.path, options, progress)
        trained_on = run.read_options().data
        _export_and_evaluate(run, trained_on, validation_photos, progress)
    except KeyboardInterrupt:
        progress.end()
        again = f"edgecat train --resume {run.path}"
        print(f"edgecat: interrupted; go on with: {again}", file=sys.stderr)
        raise typer.Exit(130) from None
    progress.end()
    print(run.checkpoint)
    export = f"edgecat export {run.checkpoint} --int8 --data {' '.join(trained_on)}"
    print(f"next: {export}", file=sys.stderr)


def _export_and_evaluate(
    run: RunFolder, data: Sequence[str], validation: Dataset, progress: ProgressLine
) -> None:
    """Write model-fp32.tflite, and its answers on the validation photos to evaluation.json.

    The photos are classified as on a device, by edgecat's runtime. Raise ExportError.
    """
    from edgecat_export.pipeline import Request, export
    from edgecat_export.worker import NotInstalledError, in_child

    progress.say("exporting and evaluating")
    again = f"edgecat train --resume {run.path}"
    try:
        request = Request(run.checkpoint, run.path, ["fp32"], ["tflite"], name="model")
        [exported] = export(request)
    except NotInstalledError as error:
        progress.say(f"not exported and evaluated: {error}; then type: {again}")
        return
    if exported.path is None:
        raise ExportError("; ".join(exported.problems))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photos = validation.photos
        record = in_child(_evaluate, exported.path, photos, folder=folder, say=progress.say)
    record |= {
        "data": [Path(folder).name for folder in data],
        "part": "held back",
        "command": f"edgecat train --resume {run.path.name}",
    }
    run.write("evaluation.json", json.dumps(record, indent=1, ensure_ascii=False))
    _show(exported.name, record, run, progress)


def _evaluate(model: Path, photos: Sequence[LabelledPhoto], messages: object) -> dict[str, Any]:
    """Return the record of an evaluation; called in a child, where the engine may print."""
    with Classifier(model) as classifier:
        return evaluate(classifier, photos).record()


def _show(name: str, record: dict[str, Any], run: RunFolder, progress: ProgressLine) -> None:
    progress.say(f"{name} on the validation photos:")
    worse = []
    of_keras = read_card(run.checkpoint).evaluation
    for label, tally in record["classes"].items():
        answers = ", ".join(f"{count} as {answer}" for answer, count in tally["answers"].items())
        right = f"{tally['accuracy']:>9.2%} right"
        progress.say(f"{label:<12}{tally['photos']:>6} photos{right}   {answers}")
        if tally["accuracy"] < of_keras[f"accuracy_{label}"] - NOT_THE_SAME:
            worse.append(label)
    if worse:
        progress.say(
            f"warning: Keras was right on more photos of {', '.join(worse)}; "
            f"see accuracy_{worse[0]} in history.csv, and export with --data"
        )
