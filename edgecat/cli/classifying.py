"""What `edgecat classify` does, without typer.

Scripts and cameras start it once for each photo, so it should cost what the photo costs.
"""

from __future__ import annotations

import glob
import io
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecat.card import ModelCard
from edgecat.classifier import MANY_LABELS, Classification, Classifier
from edgecat.cli.declarations import (
    CSV,
    DEVICE,
    ENGINE,
    JSON,
    MODEL,
    RECURSIVE,
    THREADS,
    THRESHOLD,
    TOP,
)
from edgecat.cli.output import ProgressLine, complain, quiet_libraries
from edgecat.engines import cores
from edgecat.errors import PhotoError
from edgecat.photo import EncodedPhoto, Photo, find_photos

if TYPE_CHECKING:
    from edgecat.cloud.vision import CloudVision
    from edgecat.foreign.description import Description

Write = Callable[[str, Classification], None]


# What is read without typer. Other options, and mistakes, are typer's.
OPTIONS = (MODEL, ENGINE, DEVICE, THREADS, TOP, THRESHOLD, RECURSIVE, JSON, CSV)


def parse(words: list[str]) -> dict[str, Any] | None:
    """Return the arguments of `classify` in the words of a command line.

    Return None if typer has to read them: it knows more options, and explains mistakes.
    """
    if words and not any(word[:1] == "-" != word for word in words):
        return {"photos": words}  # without argparse, whose import is not free

    import argparse

    parser = argparse.ArgumentParser(
        add_help=False,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        exit_on_error=False,
    )
    for option in OPTIONS:
        if option.kind is None:
            parser.add_argument(*option.flags, dest=option.parameter, action="store_true")
        else:
            parser.add_argument(*option.flags, dest=option.parameter, type=option.read)
    try:
        options, photos = parser.parse_known_args(words)
    except argparse.ArgumentError:
        return None
    # typer reads -m=FILE as the file =FILE.
    unlike = any(word[:1] == "-" != word[1:2] and word[2:3] == "=" for word in words)
    unknown = any(photo[:1] == "-" != photo for photo in photos)
    arguments = vars(options)
    if not photos or unknown or unlike or {"as_json", "as_csv"} <= arguments.keys():
        return None
    return {"photos": photos, **arguments}


def classify(
    photos: list[str],
    *,
    model: Path | None = None,
    top: int | None = None,
    threshold: float = 0.0,
    recursive: bool = False,
    as_json: bool = False,
    as_csv: bool = False,
    engine: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    cloud_vision: bool = False,
    yes: bool = False,
    description: Description | None = None,
) -> None:
    """Print what each photo shows. Exit with status 1 if one of them cannot be read.

    Raise EdgecatError.
    """
    failures = 0

    def fail(text: object) -> None:
        nonlocal failures
        failures += 1
        progress.end()
        complain(text)

    progress = ProgressLine()
    names = list(_expanded(photos, recursive, fail))
    waiting: deque[str] = deque()  # names of the photos that have no answer yet

    def photos_of_names() -> Iterator[Photo]:
        for name in names:
            for photo in _standard_input(recursive, fail) if name == "-" else (name,):
                waiting.append(photo if isinstance(photo, str) else name)
                yield photo

    def skip(_: Photo, error: PhotoError) -> None:
        waiting.popleft()
        fail(error)

    if names:
        classifier: Classifier | CloudVision
        source = photos_of_names()
        if cloud_vision:
            from edgecat.cli.cloud import open_cloud_vision

            listed = list(source)
            classifier = open_cloud_vision(listed, yes, threshold)
            results = classifier.classify_many(listed, on_error=skip)
        else:
            alone = len(names) == 1 and names != ["-"]
            if threads is None and len(names) > 1:
                threads = 1  # a core for each photo
            with quiet_libraries():
                classifier = Classifier(
                    model,
                    engine=engine,
                    device=device,
                    threads=threads,
                    threshold=threshold,
                    description=description,
                )
            results = classifier.classify_many(
                source, on_error=skip, workers=1 if alone else cores()
            )
        with classifier:
            if top is None and len(classifier.card.labels) > MANY_LABELS:
                top = MANY_LABELS
            if as_json:
                write = _as_json(top)
            elif as_csv:
                write = _as_csv(classifier.card)
            else:
                write = _as_table(max(map(len, names)), top)
            for answered, result in enumerate(results, 1):
                progress.end(sys.stdout.isatty())
                write(waiting.popleft(), result)
                if len(names) > 1 and "-" not in names:
                    progress.step("classifying", answered, len(names))
            progress.end()
    if failures:
        sys.exit(1)


def _expanded(names: list[str], recursive: bool, fail: Callable[[object], None]) -> Iterator[str]:
    """Yield the photos that names, folders and patterns stand for."""
    for name in names:
        path = Path(name)
        if name == "-":
            yield name
        elif os.path.isdir(name):  # Path.is_dir raises an error if the name is too long
            photos = find_photos(path, recursive)
            if not photos:
                hint = "" if recursive else "; look into its subfolders too with --recursive"
                fail(f"{name}: no photos in this folder{hint}")
            yield from map(str, photos)
        elif glob.has_magic(name) and not os.path.exists(name):
            matching = sorted(
                match for match in glob.glob(name, recursive=True) if Path(match).is_file()
            )
            if not matching:
                fail(f"{name}: no file matches")
            yield from matching
        else:
            yield name


def _standard_input(recursive: bool, fail: Callable[[object], None]) -> Iterator[Photo]:
    """Yield the encoded photo there or, one a line, names of photos.

    Each name is yielded as soon as its line arrives.
    """
    if sys.stdin is None:
        fail("standard input: closed, expected a photo, or names of photos, one a line")
        return
    # A reader of its own: a thread that waits for a line must not hold the lock that Python
    # takes on sys.stdin when it exits.
    lines = io.BufferedReader(io.FileIO(sys.stdin.fileno(), closefd=False))
    first = lines.readline()
    if not first:
        fail("standard input: empty, expected a photo, or names of photos, one a line")
    elif first.startswith((b"\xff\xd8", b"\x89PNG")) or _is_binary(first):
        yield EncodedPhoto("standard input", first + lines.read())
    else:
        line = first
        while line:
            name = os.fsdecode(line.rstrip(b"\r\n"))
            yield from _expanded([name] if name else [], recursive, fail)
            line = lines.readline()  # `for line in lines` would wait for more than one


def _is_binary(line: bytes) -> bool:
    return any(byte < 32 and byte not in b"\t\r\n" for byte in line)


def _as_table(width: int, top: int | None) -> Write:
    def write(name: str, result: Classification) -> None:
        label, *others = [f"{label} {score:.1%}" for label, score in result.scores[:top]]
        if result.label != result.scores[0].label:
            label = f"{result.label} ({label})"
        if result.group != result.label:
            label += f" ({result.group})"
        print(f"{name:<{width}}  {label:<14}  {'  '.join(others)}".rstrip(), flush=True)

    return write


def _as_json(top: int | None) -> Write:
    import json

    def write(name: str, result: Classification) -> None:
        print(json.dumps(result.record(name, top), ensure_ascii=False), flush=True)

    return write


def _as_csv(card: ModelCard) -> Write:
    import csv

    grouped = bool(card.groups)
    labels = () if grouped and len(card.labels) > MANY_LABELS else card.labels
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["photo", "label", "score", *["group"] * grouped, *labels])

    def write(name: str, result: Classification) -> None:
        scores = dict(result.scores)
        rows.writerow(
            [
                name,
                result.label,
                f"{result.score:.6f}",
                *[result.group] * grouped,
                *(f"{scores[label]:.6f}" for label in labels),
            ]
        )
        sys.stdout.flush()

    return write
