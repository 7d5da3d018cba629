"""The log: one JSON object a line on stderr, for each request and for what goes wrong. Nothing of it is a photo or a key."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any


def write_line(record: dict[str, Any]) -> None:
    """With the time before it. A reader of the log that has gone away stops nothing."""
    when = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    with suppress(OSError):
        print(json.dumps({"time": when, **record}), file=sys.stderr)


class JsonLines(logging.Handler):
    """What libraries and our own code complain of."""

    def emit(self, record: logging.LogRecord) -> None:
        said = {"level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            said["traceback"] = logging.Formatter().formatException(record.exc_info)
        write_line(said)


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "edgecat.server.log.JsonLines"}},
    "loggers": {
        name: {"handlers": ["stderr"], "level": "WARNING", "propagate": False}
        for name in ("edgecat.server", "uvicorn", "asyncio")
    },
}
