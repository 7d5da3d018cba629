"""What happens when something appears: run a command, save the picture."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import TracebackType

from edgecat.errors import EdgecatError
from edgecat.watch.events import Event
from edgecat.watch.frame import Frame


def split_command(command: str) -> list[str]:
    """Return the words of `command`. Raise ValueError if it cannot be run."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"{command}: {error}") from None
    if not words or (shutil.which(words[0]) is None and not os.access(words[0], os.X_OK)):
        raise ValueError(f"'{words[0] if words else command}' is no command that can be run")
    return words


class Actions:
    """Runs a command for each event, one at a time, in a thread beside the watching.

    `words` are those of the command; {photo}, {label} and {score} in them are replaced.
    A camera's pictures become files if `save` names a folder or the command uses {photo}; files
    for the command alone are deleted after it. `complain` receives one line for each failure.
    Raise EdgecatError if `save` cannot be created.
    """

    def __init__(
        self, words: Sequence[str], save: Path | None, complain: Callable[[str], None]
    ) -> None:
        self._words = words
        self._save = save
        self._complain = complain
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
        """Return the file of the event's picture; write it if needed.

        None if there is no picture, or if nobody needs its file. Raise EdgecatError.
        """
        frame = event.frame
        if frame is None or frame.path or not event.change.appeared:
            return frame and frame.path
        if not self._save and not any("{photo}" in word for word in self._words):
            return None
        return self._write(frame, event.change.label)

    def run(self, event: Event, photo: Path | None) -> None:
        """Run the command, if there is one, after those that wait already."""
        if not self._words:
            return
        values = {
            "photo": str(photo or ""),
            "label": event.change.label,
            "score": f"{event.change.score:.3f}",
        }
        placeholder = re.compile(r"\{(photo|label|score)\}")
        words = [placeholder.sub(lambda match: values[match[1]], word) for word in self._words]
        self._pool.submit(self._run, words, photo)

    def __enter__(self) -> Actions:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for the commands; after Ctrl-C or SIGTERM, terminate the running one instead."""
        if kind is not None and not issubclass(kind, Exception):
            self._leaving = True
            self._pool.shutdown(wait=False, cancel_futures=True)
            if self._running:
                self._running.terminate()
        self._pool.shutdown()
        self._temporary.cleanup()

    def _write(self, frame: Frame, label: str) -> Path:
        from PIL import Image

        folder = self._save or Path(self._temporary.name)
        safe_label = re.sub("[^A-Za-z0-9]+", "-", label)
        path = folder / f"{datetime.now():%Y-%m-%dT%H-%M-%S.%f}-{safe_label}.jpg"
        try:
            Image.fromarray(frame.pixels).save(path, quality=90)
        except OSError as error:
            raise EdgecatError(f"{path}: cannot be written ({error.strerror or error})") from None
        return path

    def _run(self, words: list[str], photo: Path | None) -> None:
        failure = self._failure_of(words)
        if failure:
            self._complain(f"{shlex.join(words)}: {failure}")
        if photo and photo.parent == Path(self._temporary.name):
            photo.unlink(missing_ok=True)

    def _failure_of(self, words: list[str]) -> str | None:
        """Run a command and return what failed, if anything did."""
        try:
            # stdout is for the events alone.
            self._running = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno()
            )
        except OSError as error:
            return f"cannot be run ({error.strerror})"
        if self._leaving:  # __exit__ may have looked before the command was started
            self._running.terminate()
        status = self._running.wait()
        if not status or self._leaving:
            return None
        return f"exit status {status}" if status > 0 else f"ended by {signal.Signals(-status).name}"
