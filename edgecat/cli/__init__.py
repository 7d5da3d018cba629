"""The command line: `edgecat COMMAND`. A command imports what is heavy when it runs."""

from __future__ import annotations

import io
import os
import sys
import warnings


def main() -> None:
    """The console script. Exit status: 0 all went well, 1 something failed, 2 wrong usage, 130 interrupted."""
    from edgecat.cli.app import app
    from edgecat.cli.output import complain
    from edgecat.errors import EdgecatError

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be Unicode; JSON reads it back
    warnings.filterwarnings("ignore", module="PIL")  # notes on broken EXIF data and the like, which do no harm
    try:
        app()
    except EdgecatError as error:
        complain(error)
        sys.exit(1)
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
