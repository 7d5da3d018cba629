"""Work in a child process.

Its memory ends with it, the output of its libraries is discarded, and its crash is an error.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from edgecat.errors import EdgecatError, ExportError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_OUT_OF_MEMORY = (
    "needs more memory than there is, about 2.5 GB; "
    "close other programs, or export on a larger machine"
)


class NotInstalledError(ExportError):
    """A library that exporting needs is missing."""


class Messages:
    """Carries messages from the child to the parent; `last` is the latest."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.last = pipe, "starting"

    def put(self, text: str) -> None:
        self.last = text
        self.pipe.send(text)


def in_child(
    work: Callable[..., Any], *arguments: Any, folder: Path, say: Callable[[str], None]
) -> Any:
    """Return `work(*arguments, messages)`, called in a child. Raise EdgecatError.

    `say` is called with each message that `work` puts into `messages`. All temporary files of the
    child lie in `folder`. The child ends when this call ends, also by an exception.
    """
    context = multiprocessing.get_context("spawn")
    pipe, its_pipe = context.Pipe(duplex=False)
    # As bytes: the child loads libraries only once their output is discarded.
    call = pickle.dumps((work, arguments))
    child = context.Process(target=_work, args=(its_pipe, folder, call), daemon=True)
    try:
        with _interrupts_held():  # Ctrl-C reaches the parent alone, which ends the child
            child.start()
        its_pipe.close()
        while isinstance(message := pipe.recv(), str):
            say(message)
        child.join(5)
        result, error = message
        if error is not None:
            raise error
        return result
    except EOFError:
        child.join()
        status = child.exitcode or 0
        if status == -signal.SIGKILL:
            raise ExportError(
                f"the conversion was killed, most likely by the system: it {_OUT_OF_MEMORY}"
            ) from None
        how = (
            f"crashed ({signal.Signals(-status).name})"
            if status < 0
            else f"ended with exit status {status}"
        )
        raise ExportError(f"the conversion {how}; try another --format or precision") from None
    finally:
        if child.pid is not None:
            child.kill()
            child.join()
        pipe.close()


@contextmanager
def explained() -> Iterator[None]:
    """Turn a full disk, a missing permission or a lack of memory into an ExportError."""
    try:
        yield
    except (OSError, MemoryError) as error:
        raise in_words(error, "exporting", tempfile.gettempdir()) from error


def _work(pipe: Connection, folder: Path, call: bytes) -> None:
    threading.Thread(target=_end_with_parent, args=(folder,), daemon=True).start()
    messages = Messages(pipe)
    result: tuple[Any, EdgecatError | None]
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        if "fork" in multiprocessing.get_all_start_methods():
            # Locks of that kind, such as tqdm's, leave no files when the child is killed.
            multiprocessing.set_start_method("fork", force=True)
        # The files of a converter that was killed are removed with the folder.
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        # The only backend that the TFLite converter takes.
        os.environ["KERAS_BACKEND"] = "tensorflow"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        work, arguments = pickle.loads(call)
        result = work(*arguments, messages), None
    except Exception as error:  # converters raise all kinds
        result = None, in_words(error, messages.last, str(folder.parent))
    try:
        pipe.send(result)
    except BrokenPipeError:  # the parent was killed
        _end_with_parent(folder)


def _end_with_parent(folder: Path) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # The parent was killed and could not. Another thread of this child may still write.
        for _ in range(100):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.02)
        os._exit(1)


def in_words(error: Exception, doing: str, temporary: str) -> EdgecatError:
    """Return an error for people. It happened while `doing`, with its files in `temporary`."""
    if isinstance(error, EdgecatError):
        return error
    if isinstance(error, ModuleNotFoundError):
        library = (error.name or "").partition(".")[0]
        return NotInstalledError(
            f"exporting needs '{library}'; install it with: pip install 'edgecat[export]'"
        )
    if isinstance(error, MemoryError):
        return ExportError(f"{doing}: {_OUT_OF_MEMORY}")
    reason = " ".join(str(error).split())[:300]
    if isinstance(error, OSError) and (
        error.errno in _NO_ROOM or any(os.strerror(number) in reason for number in _NO_ROOM)
    ):
        return ExportError(
            f"{doing}: no room for temporary files in {temporary} ({error.strerror or reason}); "
            "make some, or set TMPDIR to a folder with room"
        )
    if isinstance(error, OSError) and error.strerror:
        return ExportError(f"{doing}: {error.filename or temporary}: {error.strerror}")
    return ExportError(f"{doing} failed ({type(error).__name__}: {reason})")


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Block SIGINT, so that a process that is started meanwhile never gets it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # else start() does it, and lets signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
