"""The command line: `edgecat COMMAND`. A command imports what is heavy when it runs."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import warnings

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main() -> None:
    """Run the console script.

    Exit status: 0 success, 1 failure, 2 wrong usage, 130 interrupted, 141 output closed by its
    reader, 143 terminated.
    """
    from edgecat.cli.output import complain
    from edgecat.errors import EdgecatError

    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names need not be Unicode; JSON parses these escapes.
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", module="PIL")  # harmless: broken EXIF data and the like
    # Exit by an exception, so that open files are closed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        _run(sys.argv[1:])
        sys.stdout.flush()
    except EdgecatError as error:
        complain(error)
        sys.exit(1)
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as head, has had enough
        _forget_output()
        sys.exit(141)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        complain(f"cannot be written ({error.strerror}); make room, or write elsewhere")
        _forget_output()
        sys.exit(1)


def _run(words: list[str]) -> None:
    if words[:1] == ["classify"]:
        from edgecat.cli import classifying

        asked = classifying.parse(words[1:])
        if asked is not None:  # without typer, which takes as long as all the rest
            classifying.classify(**asked)
            return
    try:
        from edgecat.cli.app import app_of
    except ModuleNotFoundError as error:  # as in an app's install without a command line
        from edgecat.errors import EdgecatError

        raise EdgecatError(
            f"this command line needs '{error.name}'; install it with: pip install typer"
        ) from None
    app_of(words)()


def _forget_output() -> None:
    """Discard the rest of the output, so that Python does not try to write it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
