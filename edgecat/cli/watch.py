"""`edgecat watch`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from edgecat.classifier import Classifier
from edgecat.cli.describing import describing
from edgecat.cli.options import Device, Engine, Model, Threads
from edgecat.cli.output import complain, quiet_libraries
from edgecat.errors import EdgecatError
from edgecat.foreign.description import Description
from edgecat.watch.camera import PICAMERA, camera_frames
from edgecat.watch.events import Event, watched
from edgecat.watch.events import watch as watch_frames
from edgecat.watch.folder import new_photos
from edgecat.watch.frame import Frame
from edgecat.watch.presence import Hysteresis

_PANEL = "What counts as there"


@describing
def watch(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|CAMERA",
            help="A folder; a camera (0, /dev/video0, picamera2); a video file, "
            "or the address of a stream.",
            show_default=False,
        ),
    ],
    execute: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="COMMAND",
            help="Run this when something appears; "
            "{photo}, {label} and {score} become what they say.",
            show_default=False,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Keep the camera's picture of what appears here, as a JPEG.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    every: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How often to look.")
    ] = 0.5,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into folders inside the folder too.")
    ] = False,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="Watch for this label or group, may be given several times; else cat and dog.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    appear: Annotated[
        float,
        typer.Option(min=0, max=1, help="It appears with this score ...", rich_help_panel=_PANEL),
    ] = Hysteresis.appear,
    frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="... in so many frames in a row; else 2, of a folder 1.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    gone: Annotated[
        float,
        typer.Option(min=0, max=1, help="It is gone below this score ...", rich_help_panel=_PANEL),
    ] = Hysteresis.gone,
    gone_frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="... in so many frames in a row; else 6, of a folder 3.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None,
    forget: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="It is gone too when not seen for so long.",
            rich_help_panel=_PANEL,
        ),
    ] = Hysteresis.forget,
    model: Model = None,
    engine: Engine = None,
    device: Device = "cpu",
    threads: Threads = None,
    description: Description | None = None,
) -> None:
    """Say when a cat or a dog appears in front of a camera, or among the photos of a folder.

    Runs until Ctrl-C. A photo that cannot be read is named on stderr, and so is a command
    that fails.
    The command is no shell's: a photo's name cannot do harm in it.

    [bold]edgecat watch shots --exec 'notify-send {label} {photo}'[/bold]

    [bold]edgecat watch 0 --save seen --json[/bold]
    """
    from edgecat.watch.actions import Actions, split_command

    folder = _is_folder(source)
    if save and folder:
        raise typer.BadParameter(
            "of a folder's photos there are files already", param_hint="--save"
        )
    if recursive and not folder:
        raise typer.BadParameter("there are no folders in a camera", param_hint="--recursive")
    try:
        hysteresis = Hysteresis(
            appear,
            gone,
            frames or (1 if folder else 2),
            gone_frames or (3 if folder else 6),
            forget,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    try:
        words = split_command(execute) if execute is not None else []
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--exec") from None
    with Actions(words, save, complain) as actions:
        with quiet_libraries():
            classifier = Classifier(
                model, engine=engine, device=device, threads=threads, description=description
            )
        with classifier:
            labels = watched(classifier.card, label or ())
            pictures: Iterator[Frame | None] = (
                new_photos(
                    source, classifier.pixels, every=every, recursive=recursive, on_error=complain
                )
                if folder
                else camera_frames(source, every)
            )
            if sys.stderr.isatty():
                pictures = _announced(
                    pictures, f"watching {source} for {' and '.join(labels)}; Ctrl-C ends it"
                )
            with closing(watch_frames(classifier, pictures, labels, hysteresis)) as events:
                for event in events:
                    photo = actions.photo_of(event)
                    _write(event, photo if folder or save else None, as_json)
                    if event.change.appeared:
                        actions.run(event, photo)


def _is_folder(source: str) -> bool:
    """Return whether `source` is a folder. Raise EdgecatError if it is no camera either."""
    path = Path(source)
    if path.is_dir():
        return True
    if not (source.isdecimal() or source == PICAMERA or "://" in source or path.exists()):
        raise EdgecatError(
            f"{source}: no such folder or camera; expected a folder, a camera "
            f"(0, /dev/video0, {PICAMERA}), a video file or a stream's address"
        )
    return False


def _announced(frames: Iterator[Frame | None], text: str) -> Iterator[Frame | None]:
    """Yield `frames`; print `text` once the source is open."""
    for number, frame in enumerate(frames):
        if number == 0:
            print(text, file=sys.stderr, flush=True)
        yield frame


def _write(event: Event, photo: Path | None, as_json: bool) -> None:
    (label, appeared, score), frame = event
    now = datetime.now().astimezone()
    what = "appeared" if appeared else "gone"
    name = str(photo) if photo else frame.name if frame else None
    if as_json:
        record = {
            "time": now.isoformat(timespec="milliseconds"),
            "event": what,
            "label": label,
            "score": None if score is None else round(score, 6),
            "photo": name,
        }
        print(json.dumps(record, ensure_ascii=False), flush=True)
    else:
        percent = "" if score is None else f"{score:.1%}"
        line = f"{now:%H:%M:%S}  {label} {what:<8}  {percent:>6}  {name or ''}"
        print(line.rstrip(), flush=True)
