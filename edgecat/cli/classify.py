"""`edgecat classify`."""

from __future__ import annotations

import csv
import glob
import json
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecat.classifier import Classification, Classifier
from edgecat.cli.cloud import CloudVisionOption, YesOption, open_cloud_vision
from edgecat.cli.describing import describing
from edgecat.cli.output import ProgressLine, complain, quiet_libraries
from edgecat.description import Description
from edgecat.errors import PhotoError
from edgecat.model_file import ModelCard
from edgecat.photo import Photo, find_photos

if TYPE_CHECKING:
    from edgecat.cloud_vision import CloudVision

Write = Callable[[str, Classification], None]

MANY_LABELS = 5  # of a model with more, so many are shown: nobody reads a thousand scores


@describing
def classify(
    photos: Annotated[
        list[str], typer.Argument(metavar="PHOTO...", help="Photos, folders, patterns such as 'shots/*.jpg', or - for standard input.", show_default=False)
    ],
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="A .tflite or .onnx model file; else the one that comes along.", show_default=False)
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Show only the best N labels; else all, of many the best 5.", show_default=False)] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Answer 'unsure' where the best score is below this.")] = 0.0,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look into folders inside folders too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV with a header.")] = False,
    engine: Annotated[
        str | None, typer.Option(help="litert, tflite-runtime, tensorflow or onnxruntime; else the best that is installed.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="What computes: cpu, gpu, cuda, tensorrt, coreml or directml. Fails where anything else would.")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine; else one a core, at most 4.", show_default=False)] = None,
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
    """
    if as_json and as_csv:
        raise typer.BadParameter("give --json or --csv, not both")
    if cloud_vision and (model or engine or threads or description or device != "cpu"):
        raise typer.BadParameter("--cloud-vision takes no model, and no option of one")
    failures = 0

    def fail(text: object) -> None:
        nonlocal failures
        failures += 1
        progress.end()
        complain(text)

    progress = ProgressLine()
    names = _expand(photos, recursive, fail)
    if names:
        given = [_read(name) for name in names]
        classifier: Classifier | CloudVision
        if cloud_vision:
            classifier = open_cloud_vision(given, yes, threshold)
        else:
            with quiet_libraries():
                classifier = Classifier(model, engine=engine, device=device, threads=threads, threshold=threshold, description=description)
        with classifier:
            if top is None and len(classifier.card.labels) > MANY_LABELS:
                top = MANY_LABELS
            write = _as_json(top) if as_json else _as_csv(classifier.card) if as_csv else _as_table(max(map(len, names)), top)
            waiting = deque(names)

            def skip(_: Photo, error: PhotoError) -> None:
                waiting.popleft()
                fail(error)

            for result in classifier.classify_many(given, on_error=skip):
                progress.end(sys.stdout.isatty())
                write(waiting.popleft(), result)
                if len(names) > 1:
                    progress.step("classifying", len(names) - len(waiting), len(names))
            progress.end()
    if failures:
        raise typer.Exit(1)


def _read(name: str) -> Photo:
    return sys.stdin.buffer.read() if name == "-" else name


def _expand(given: list[str], recursive: bool, fail: Callable[[object], None]) -> list[str]:
    names: list[str] = []
    for name in given:
        path = Path(name)
        if name == "-":
            names.append(name)
        elif path.is_dir():
            found = find_photos(path, recursive)
            if not found:
                fail(f"{name}: no photos in this folder" + ("" if recursive else "; look into its subfolders too with --recursive"))
            names += map(str, found)
        elif not path.exists() and glob.has_magic(name):
            matching = sorted(match for match in glob.glob(name, recursive=True) if Path(match).is_file())
            if not matching:
                fail(f"{name}: no file matches")
            names += matching
        else:
            names.append(name)
    return names


def _as_table(width: int, top: int | None) -> Write:
    def write(name: str, result: Classification) -> None:
        label, *others = [f"{label} {score:.1%}" for label, score in result.scores[:top]]
        if result.label != result.scores[0].label:
            label = f"{result.label} ({label})"
        if result.group != result.label:
            label += f" ({result.group})"
        print(f"{name:<{width}}  {label:<14}  {'  '.join(others)}".rstrip(), flush=sys.stdout.isatty())

    return write


def _as_json(top: int | None) -> Write:
    def write(name: str, result: Classification) -> None:
        scores = {label: round(score, 6) for label, score in result.scores[:top]}
        record = {"photo": name, "label": result.label, "score": round(result.score, 6), "group": result.group, "scores": scores, "engine": result.engine}
        print(json.dumps(record, ensure_ascii=False), flush=True)

    return write


def _as_csv(card: ModelCard) -> Write:
    grouped = bool(card.groups)
    labels = () if grouped and len(card.labels) > MANY_LABELS else card.labels
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["photo", "label", "score", *["group"] * grouped, *labels])

    def write(name: str, result: Classification) -> None:
        scores = dict(result.scores)
        rows.writerow([name, result.label, f"{result.score:.6f}", *[result.group] * grouped, *(f"{scores[label]:.6f}" for label in labels)])

    return write
