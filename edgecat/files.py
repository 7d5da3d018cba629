"""Where what would cost time or money to get again is kept."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/edgecat`, or `~/.cache/edgecat`; whatever lies in it can be removed at any time. Raises OSError where there is no home folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (home if home.is_absolute() else Path.home() / ".cache") / "edgecat"
    except RuntimeError:
        raise OSError(errno.ENOENT, "no home folder", "~/.cache") from None
