"""What `edgecat watch` does when something appears: runs a command, keeps the picture."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import TracebackType

import typer

from edgecat.cli.output import complain
from edgecat.errors import EdgecatError
from edgecat.watch.events import Event


class Commands:
    """Runs what was asked for, one after the other beside the watching; a camera's pictures become files for it, kept if they are to be saved."""

    def __init__(self, command: str | None, save: Path | None) -> None:
        self._words = _words(command)
        self._save = save
        if save:
            try:
                save.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise EdgecatError(
                    f"{save}: cannot be made ({error.strerror}); choose another folder with --save"
                ) from None
        self._temporary = tempfile.TemporaryDirectory(prefix="edgecat-")
        self._pool = ThreadPoolExecutor(1)
        self._running: subprocess.Popen[bytes] | None = None
        self._leaving = False

    def photo_of(self, event: Event) -> Path | None:
        """The file of what appeared, if there is one or one is wanted. Raises EdgecatError."""
        frame = event.frame
        if frame is None or frame.path or not event.change.appeared:
            return frame and frame.path
        if not self._save and not any("{photo}" in word for word in self._words):
            return None
        from PIL import Image

        folder = self._save or Path(self._temporary.name)
        path = (
            folder
            / f"{datetime.now():%Y-%m-%dT%H-%M-%S.%f}-{re.sub('[^A-Za-z0-9]+', '-', event.change.label)}.jpg"
        )
        try:
            Image.fromarray(frame.pixels).save(path, quality=90)
        except OSError as error:
            raise EdgecatError(f"{path}: cannot be written ({error.strerror or error})") from None
        return path

    def run(self, event: Event, photo: Path | None) -> None:
        if self._words:
            values = {
                "photo": str(photo or ""),
                "label": event.change.label,
                "score": f"{event.change.score:.3f}",
            }
            words = [
                re.sub(r"\{(photo|label|score)\}", lambda match: values[match[1]], word)
                for word in self._words
            ]
            self._pool.submit(self._run, words, photo)

    def _run(self, words: list[str], photo: Path | None) -> None:
        shown = shlex.join(words)
        try:
            self._running = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno()
            )  # our own stdout is for the results
        except OSError as error:
            complain(f"{shown}: cannot be run ({error.strerror})")
        else:
            if self._leaving:  # since the last look at it
                self._running.terminate()
            status = self._running.wait()
            if status and not self._leaving:
                complain(
                    f"{shown}: "
                    + (
                        f"exit status {status}"
                        if status > 0
                        else f"ended by {signal.Signals(-status).name}"
                    )
                )
        if photo and photo.parent == Path(self._temporary.name):
            photo.unlink(missing_ok=True)

    def __enter__(self) -> Commands:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for what was begun; where the watching was ended, end it."""
        if kind is not None and not issubclass(kind, Exception):
            self._leaving = True
            self._pool.shutdown(wait=False, cancel_futures=True)
            if self._running:
                self._running.terminate()
        self._pool.shutdown()
        self._temporary.cleanup()


def _words(command: str | None) -> list[str]:
    """The words of a command. Raises BadParameter."""
    if command is None:
        return []
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise typer.BadParameter(f"{command}: {error}", param_hint="--exec") from None
    if not words or (shutil.which(words[0]) is None and not os.access(words[0], os.X_OK)):
        raise typer.BadParameter(
            f"'{words[0] if words else command}' is no command that can be run", param_hint="--exec"
        )
    return words
