"""`edgecat evaluate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecat.card import base_names, typed
from edgecat.classifier import Classifier
from edgecat.cli.cloud import CloudVisionOption, YesOption, open_cloud_vision
from edgecat.cli.describing import describing
from edgecat.cli.options import Engine, Models
from edgecat.cli.output import ProgressLine, complain, quiet_libraries, table
from edgecat.errors import EdgecatError
from edgecat.foreign.description import Description
from edgecat.models import DEFAULT_MODEL

if TYPE_CHECKING:
    from edgecat.measure.accuracy import Evaluation, System

MANY_ANSWERS = 10  # of more, the table shows the sum alone; --json has them all
SHOWN_MISTAKES = 5  # --json and --gallery have more


@describing
def evaluate(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA...",
            help="Folders of class folders (cats/, dogs/, …), or LABEL=FOLDER for one class.",
            show_default=False,
        ),
    ],
    model: Models = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line for each model.")
    ] = False,
    gallery: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Write a page of the photos that were answered wrongly.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a page that --gallery did not make.")
    ] = False,
    engine: Engine = None,
    cloud_vision: CloudVisionOption = False,
    yes: YesOption = False,
    description: Description | None = None,
) -> None:
    """Count how often models are right on photos whose class is known.

    Several DATA folders are a row each, for each of their classes, with the mean over the folders.

    By its labels, or by its groups where the folders are named after these: an ImageNet model on
    cats/ and dogs/. Photos named as ImageNet names them (n02123045_tabby.JPEG) need no class
    folder. A model that does not know one of the classes is named on stderr, the others are
    still judged, and the exit status is 1.

    [bold]edgecat evaluate photos/test[/bold]

    [bold]edgecat evaluate photos/test neither=photos/others --model a.onnx --model b.tflite[/bold]

    [bold]edgecat evaluate photos/test --gallery mistakes.html[/bold]
    """
    from edgecat.measure import accuracy as evaluation

    if gallery is not None:
        from edgecat.report.gallery import check_writable, write_gallery

        check_writable(gallery, force)
    photos = list(evaluation.find_labelled_photos(data))
    source = {
        "data": [base_names(folder) for folder in data],
        "command": typed(["edgecat", *sys.argv[1:]]),
    }
    systems = _systems(model or ([] if cloud_vision else [DEFAULT_MODEL]), engine, description)
    if cloud_vision:
        cloud = open_cloud_vision([photo.path for photo in photos], yes)
        systems.append(lambda: cloud)
    results: list[Evaluation] = []
    failures: set[str] = set()  # each named once, not once for each model
    refused = 0
    progress = ProgressLine()

    def step(done: int) -> None:
        progress.step(
            "evaluating", len(results) * len(photos) + done, (len(systems) - refused) * len(photos)
        )

    for open_system in systems:
        try:
            with quiet_libraries():
                opened = open_system()
            with opened as system:
                result = evaluation.evaluate(system, photos, step)
        except EdgecatError as error:
            progress.end()
            complain(error)
            refused += 1
            continue
        progress.end()
        for failure in result.failures:
            if failure not in failures:
                complain(failure)
        failures.update(result.failures)
        if not result.photos():
            refused += 1
            continue
        results.append(result)
        if as_json:
            print(json.dumps({**result.record(), **source}, ensure_ascii=False), flush=True)
        else:
            print("\n".join([*([""] if len(results) > 1 else []), *_block(result)]), flush=True)
    if len(results) > 1 and not as_json:
        print("\n".join(["", *_comparison(results)]))
    if gallery is not None and results:
        write_gallery(gallery, results)
        progress.say(f"written: {gallery}")
    if failures or refused:
        raise typer.Exit(1)


def _systems(
    models: Sequence[Path], engine: str | None, description: Description | None
) -> list[Callable[[], System]]:
    """Return a function that opens each system.

    They are opened one after another, so that only one is in memory.
    """
    distinct = len({path.name for path in models}) == len(models)

    def open_model(path: Path) -> System:
        classifier = Classifier(path, engine=engine, threads=1, description=description)
        if not distinct:
            classifier.name = str(path)
        return classifier

    return [partial(open_model, path) for path in models]


def _block(result: Evaluation) -> Iterator[str]:
    """One model's classes, what their photos were taken for, and where it was surest and wrong."""
    answers = sorted({answer for tally in result.classes.values() for answer in tally.answers})
    few = len(answers) <= MANY_ANSWERS
    yield ", ".join(
        [result.model, result.engine, *([] if result.file_bytes is None else [_megabytes(result)])]
    )
    rows = [
        [
            "",
            "photos",
            "right",
            "95 % interval",
            *(["confidence", *(f"as {answer}" for answer in answers)] if few else []),
        ]
    ]
    several = len(result.origins) > 1
    width = max(map(len, result.origins))
    for origin, label, tally in result.rows() if few else ():
        name = f"{origin:<{width}}  {label}" if several else label
        photos, right = tally.answers.total(), tally.answers[label]
        counts = [str(tally.answers[answer]) for answer in answers]
        rows.append([*_row(name, right, photos), f"{tally.scores / photos:.1%}", *counts])
    if several:
        mean = f"{result.mean_over_folders():.2%}"
        rows.append([f"mean over {len(result.origins)} folders", "", mean])
    yield from table([*rows, _accuracy(result)])
    shares = {name: share for name, share in _shares(result).items() if share}
    shares.pop("mean over folders", None)  # it stands in the table
    yield ", ".join(f"{name} {share}" for name, share in shares.items())
    ways = result.ways()
    if ways and few:
        yield from table(
            [
                ["group by", *result.labels()],
                *(
                    [way, *(f"{share:.2%}" for share in shares.values())]
                    for way, shares in ways.items()
                ),
            ]
        )
    worst = result.worst()[:SHOWN_MISTAKES]
    if worst:
        more = ", the surest" if result.mistakes > len(worst) else ""
        yield f"{result.mistakes} answered wrongly{more}:"
    for mistake in worst:
        yield f"  {mistake.score:.1%}  {mistake.label} as {mistake.answer}  {mistake.photo}"


def _comparison(results: Sequence[Evaluation]) -> Iterator[str]:
    """One line for each model."""
    classes = sorted({label for result in results for label in result.classes})
    shown = classes if len(classes) <= MANY_ANSWERS else []
    rows = [
        [
            "model",
            "photos",
            "right",
            "95 % interval",
            *shown,
            *_shares(results[0]),
            "size",
            "seconds",
        ]
    ]
    for result in results:
        of_classes = [
            f"{result.accuracy(label):.2%}" if label in result.classes else "" for label in shown
        ]
        size = "" if result.file_bytes is None else _megabytes(result)
        rows.append(
            [
                result.model,
                *_accuracy(result)[1:],
                *of_classes,
                *_shares(result).values(),
                size,
                f"{result.seconds:.1f}",
            ]
        )
    used = [any(column[1:]) for column in zip(*rows, strict=True)]
    yield from table(
        [[cell or "-" for cell, shows in zip(row, used, strict=True) if shows] for row in rows]
    )


def _shares(result: Evaluation) -> dict[str, str]:
    """Name -> what is shown of it, empty where it makes no sense for this model."""
    several = len(result.origins) > 1
    shares = {
        "mean over folders": result.mean_over_folders() if several else None,
        "balanced": result.balanced_accuracy(),
        "calibration error": result.calibration_error(),
        "answered neither": result.neither_share(),
    }
    return {name: "" if share is None else f"{share:.2%}" for name, share in shares.items()}


def _accuracy(result: Evaluation, label: str | None = None) -> list[str]:
    return _row(label or "all", result.right(label), result.photos(label))


def _row(name: str, right: int, photos: int) -> list[str]:
    from edgecat.measure.accuracy import wilson_interval

    low, high = wilson_interval(right, photos)
    return [
        name,
        str(photos),
        f"{right / photos:.2%}",
        f"{100 * low:.1f} to {100 * high:.1f} %",
    ]


def _megabytes(result: Evaluation) -> str:
    return f"{(result.file_bytes or 0) / 1e6:.2f} MB"
