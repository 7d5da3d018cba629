"""Files that edgecat writes: whole or not at all, over nothing of the user's; the cache folder."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecat.errors import EdgecatError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there replaces `path` at the end.

    If the body raises, `path` stays as it was and the temporary file is removed. The temporary
    name is hidden, ends in the suffix of `path` and is unique to the thread. Raise OSError if
    the file cannot be put in place.
    """
    path = Path(os.path.realpath(path))  # through a link, so that the link stays
    unique = f"{os.getpid()}-{threading.get_ident()}"
    part = path.with_name(f".{path.stem}.{unique}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def may_replace(
    path: Path,
    force: bool,
    made_here: Callable[[Path], bool],
    command: str,
    *,
    option: str = "another --out",
    error: type[EdgecatError] = EdgecatError,
) -> None:
    """Raise `error` if `path` exists, unless `force` is set or the same command made the file.

    `made_here` tells whether `command`, such as "edgecat label", made the file at a path. The
    message names `option` as what to give instead.
    """
    if os.path.lexists(path) and not force and not made_here(path):
        raise error(
            f"{path}: exists and was not made by '{command}'; "
            f"give --force to overwrite it, or {option}"
        )


def cache_folder() -> Path:
    """Return `$XDG_CACHE_HOME/edgecat`, or `~/.cache/edgecat`. Its content can be removed.

    Raise OSError if there is no home folder.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (home if home.is_absolute() else Path.home() / ".cache") / "edgecat"
    except RuntimeError:
        raise OSError(errno.ENOENT, "no home folder", "~/.cache") from None
