"""`edgecat evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edgecat.classifier import Classifier
from edgecat.cli.describing import describing
from edgecat.cli.output import ProgressLine, complain, quiet_libraries
from edgecat.description import Description

MANY_ANSWERS = 10  # of more, the table shows the sum alone; --json has them all


@describing
def evaluate(
    data: Annotated[
        list[str], typer.Argument(metavar="DATA...", help="Folders of class folders (cats/, dogs/, …), or LABEL=FOLDER for one class.", show_default=False)
    ],
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="A .tflite or .onnx model file; else the one that comes along.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, with every mistake.")] = False,
    engine: Annotated[
        str | None, typer.Option(help="litert, tflite-runtime, tensorflow or onnxruntime; else the best that is installed.", show_default=False)
    ] = None,
    description: Description | None = None,
) -> None:
    """Count how often a model is right on photos whose class is known.

    By its labels, or by its groups where the folders are named after these: an ImageNet model on
    cats/ and dogs/. Photos named as ImageNet names them (n02123045_tabby.JPEG) need no class folder.

    [bold]edgecat evaluate photos/test[/bold]

    [bold]edgecat evaluate photos/test neither=photos/others --model mobilenet-int8.onnx[/bold]
    """
    from edgecat import evaluation

    photos = list(evaluation.find_labelled_photos(data))
    with quiet_libraries():
        classifier = Classifier(model, engine=engine, threads=1, description=description)
    progress = ProgressLine()
    with classifier:
        result = evaluation.evaluate(classifier, photos, lambda done: progress.step("evaluating", done, len(photos)))
    progress.end()
    for failure in result.failures:
        complain(failure)
    if as_json:
        print(json.dumps({**result.record(), "engine": classifier.engine}, ensure_ascii=False))
    elif result.photos():
        answers = sorted({answer for _, answer in result.answers})
        few = len(answers) <= MANY_ANSWERS
        print(f"{'':<12}{'photos':>8}{'right':>10}   " + "".join(f"{'as ' + answer:>12}" for answer in answers if few))
        for label in result.labels() if few else ():
            said = "".join(f"{result.answers[label, answer]:>12}" for answer in answers)
            print(f"{label:<12}{result.photos(label):>8}{result.accuracy(label):>10.2%}   {said}")
        print(f"{'all':<12}{result.photos():>8}{result.accuracy():>10.2%}   {result.model}, {classifier.engine}")
    if result.failures:
        raise typer.Exit(1)
