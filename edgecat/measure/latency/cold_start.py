"""Start a process that classifies one photo, and clock its steps."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecat.errors import EngineError

if TYPE_CHECKING:
    from edgecat.measure.latency.measurement import Configuration

# Step -> the clock of `cold_process` at its end.
_STEPS = {
    "python_ms": "started",
    "import_ms": "imported",
    "open_ms": "opened",
    "prepare_ms": "prepared",
    "first_inference_ms": "ran",
    "answer_ms": "answered",
}
MEMORY = ("first_peak_mb", "peak_mb", "steady_mb")


def start_cold(configuration: Configuration, photo: Path) -> dict[str, float | None]:
    """Return the milliseconds of each step, their total, and the megabytes of `MEMORY`.

    The memory is None where the system does not report it. Raise EngineError if the process
    cannot classify the photo, or dies.
    """
    request: dict[str, Any] = {
        "model": str(configuration.model),
        "engine": configuration.engine,
        "device": configuration.device,
        "threads": configuration.threads,
        "photo": str(photo),
    }
    if configuration.description is not None:
        request["description"] = asdict(configuration.description)
    command = [sys.executable, "-m", "edgecat.measure.latency.cold_process", json.dumps(request)]
    began = time.monotonic_ns()
    process = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    try:
        answer = json.loads(process.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise EngineError(
            f"{configuration.model}: a process that opens it ends at once "
            f"({_reason(process)}); it may not fit the memory that is free here"
        ) from None
    if "error" in answer:
        raise EngineError(answer["error"])
    clock = [began, *(answer["clock"][step] for step in _STEPS.values())]
    steps = [(end - start) / 1e6 for start, end in pairwise(clock)]
    return {
        **dict(zip(_STEPS, steps, strict=True)),
        "total_ms": (clock[-1] - began) / 1e6,
        **{key: answer[key] for key in MEMORY},
    }


def _reason(process: subprocess.CompletedProcess[str]) -> str:
    """Return why a process ended: its signal, or the last line that it printed to stderr."""
    if process.returncode < 0:
        return f"signal {signal.Signals(-process.returncode).name}"
    return (process.stderr.strip().splitlines() or ["no reason given"])[-1]
