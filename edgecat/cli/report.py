"""`edgecat report`."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from edgecat.card import base_names
from edgecat.classifier import Classifier
from edgecat.cli.output import ProgressLine, complain, quiet_libraries
from edgecat.errors import DataError, EdgecatError
from edgecat.models import DEFAULT_MODEL

SUFFIXES = (".tflite", ".onnx")


def report(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA...",
            help="Folders of class folders (cats/, dogs/, …), or LABEL=FOLDER for one class.",
            show_default=False,
        ),
    ],
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            "-m",
            help="A .tflite or .onnx model file, or a folder of them; several may be given.",
            show_default=False,
        ),
    ] = None,
    evaluation: Annotated[
        list[Path] | None,
        typer.Option(
            help="Lines of 'edgecat evaluate --json', measured elsewhere; several may be given.",
            show_default=False,
        ),
    ] = None,
    history: Annotated[
        list[Path] | None,
        typer.Option(
            help="A run folder of 'edgecat train', or its history.csv; several may be given.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The page; the same with .md and .json are written beside it.")
    ] = Path("report.html"),
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite files that edgecat report did not make.")
    ] = False,
) -> None:
    """Compare systems on photos whose class is known.

    The result is one HTML page, its table in Markdown, and its numbers in JSON.

    The default model, and every --model, is evaluated and timed here. The page needs
    nothing beside it; it shows small copies of photos that were mistaken.

    [bold]edgecat report photos/test -m exported --evaluation cloud.jsonl --history runs/pets[/bold]
    """
    from edgecat.measure import accuracy as evaluating
    from edgecat.report.comparison import Comparison
    from edgecat.report.history import read_history
    from edgecat.report.page import as_html, as_json, as_markdown
    from edgecat.report.records import read_records
    from edgecat.report.systems import MEASUREMENTS, made_by, measure_latency, system

    _check_out(out, force)
    elsewhere = [record for path in evaluation or [] for record in read_records(path)]
    histories = [read_history(path) for path in history or []]
    photos = list(evaluating.find_labelled_photos(data))
    made = made_by(["edgecat", *sys.argv[1:]])
    source = {"data": [base_names(given) for given in data], "command": made["command"]}
    progress = ProgressLine()
    records: list[dict[str, Any]] = []
    failures: dict[str, None] = {}  # in order, each once, whichever models met them
    with ExitStack() as opened:
        with quiet_libraries():
            classifiers = [
                opened.enter_context(Classifier(path, threads=1)) for path in _models(model or [])
            ]
        if len({classifier.name for classifier in classifiers}) < len(classifiers):
            for classifier in classifiers:
                classifier.name = str(classifier.path)
        classifiers = _knowing(classifiers, {photo.label for photo in photos}, progress)
        for classifier in classifiers:
            step = partial(progress.step, f"evaluating {classifier.name}", total=len(photos))
            result = evaluating.evaluate(classifier, photos, step)
            failures |= dict.fromkeys(result.failures)
            if not result.photos():
                raise DataError(f"{result.failures[0]}; nor can any other photo be read")
            records.append({**result.record(), **source})
        paths = [photo.path for photo in photos]
        latencies = measure_latency(
            classifiers, paths, lambda done: progress.step("timing", done, MEASUREMENTS)
        )
    systems = [*map(system, records, latencies), *map(system, elsewhere)]
    comparison = Comparison(systems, made, histories, frozenset(map(str, paths)))
    page = as_html(comparison, lambda done, total: progress.step("drawing", done, total))
    markdown, numbers = as_markdown(comparison), as_json(comparison)
    _write(out, {".html": page, ".md": markdown, ".json": numbers})
    progress.end()
    for failure in failures:
        complain(failure)
    print(out)
    if failures:
        raise typer.Exit(1)


def _check_out(out: Path, force: bool) -> None:
    """Raise an error now, before any work, if the files cannot be written in the end."""
    from edgecat.report.page import made_here

    if out.suffix != ".html":
        raise typer.BadParameter(f"'{out}', expected a name that ends in .html", param_hint="--out")
    for library in ("jinja2", "matplotlib"):
        if importlib.util.find_spec(library) is None:
            raise EdgecatError(
                f"a report needs '{library}'; install it with: pip install 'edgecat[plots]'"
            )
    path = out.parent
    try:
        tempfile.TemporaryFile(dir=path).close()
        for path in (out.with_suffix(suffix) for suffix in (".html", ".md", ".json")):
            if path.exists() and not force and not made_here(path):
                raise EdgecatError(
                    f"{path}: not made by edgecat report; give another --out or --force"
                )
    except OSError as error:
        raise EdgecatError(
            f"{path}: cannot be written to ({error.strerror}); give another --out"
        ) from None


def _models(paths: list[Path]) -> list[Path]:
    """Return the model that comes with edgecat and those in `paths`, each once."""
    models = [DEFAULT_MODEL]
    for path in paths:
        inside = (
            sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
            if path.is_dir()
            else [path]
        )
        if not inside:
            raise DataError(f"{path}: no model files in this folder; expected .tflite or .onnx")
        models += inside
    return list({path.resolve(): path for path in models}.values())


def _knowing(
    classifiers: list[Classifier], labels: set[str], progress: ProgressLine
) -> list[Classifier]:
    """Return the classifiers that know the photos' classes, before any work.

    Only the model that comes with edgecat may be left out. Raise DataError for others.
    """
    from edgecat.measure.accuracy import judged_by_label

    knowing = []
    for classifier in classifiers:
        try:
            judged_by_label(classifier.card, labels, classifier.name)
        except DataError as error:
            if classifier.path != DEFAULT_MODEL or len(classifiers) == 1:
                raise
            progress.say(f"left out: {error}")
        else:
            knowing.append(classifier)
    return knowing


def _write(out: Path, contents: dict[str, str]) -> None:
    """Write all files or, if the disk is full, none."""
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".edgecat-") as folder:
            parts = {out.with_suffix(suffix): Path(folder, f"part{suffix}") for suffix in contents}
            for part, content in zip(parts.values(), contents.values(), strict=True):
                # File names need not be Unicode.
                part.write_text(content, encoding="utf-8", errors="replace")
            for path, part in parts.items():
                os.replace(part, path)
    except OSError as error:
        raise EdgecatError(
            f"{out}: cannot be written ({error.strerror}); give another --out"
        ) from None
