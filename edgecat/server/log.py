"""The log on stderr: one JSON object a line, for each request and each problem.

It never holds photos or keys.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any


def write_line(record: dict[str, Any]) -> None:
    """Write `record` with the time. A closed stderr is ignored."""
    when = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    with suppress(OSError):
        print(json.dumps({"time": when, **record}), file=sys.stderr)


class JsonLines(logging.Handler):
    """Writes the log records of libraries and of edgecat as JSON."""

    def emit(self, record: logging.LogRecord) -> None:
        line = {"level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = logging.Formatter().formatException(record.exc_info)
        write_line(line)


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "edgecat.server.log.JsonLines"}},
    "loggers": {
        name: {"handlers": ["stderr"], "level": "WARNING", "propagate": False}
        for name in ("edgecat.server", "uvicorn", "asyncio")
    },
}
