"""Systems of a comparison: their records with latency and cost, and where they were measured."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgecat.card import typed
from edgecat.classifier import Classifier
from edgecat.cloud.pricing import dollars_of_a_million
from edgecat.errors import DataError, PhotoError
from edgecat.measure import board
from edgecat.measure.latency.stages import STAGES, clocked, photo_steps
from edgecat.report.records import Record

MEASUREMENTS = 50  # of each system's latency
WARM_UP = 2  # photos before the first measurement


def measure_latency(
    classifiers: Sequence[Classifier], photos: Sequence[Path], on_step: Callable[[int], None]
) -> list[dict[str, float]]:
    """Return for each classifier its median latency in milliseconds.

    `photo` is from the file to the answer, `engine` the model alone. The classifiers take turns
    photo by photo, so that other work of the machine affects all alike. Photos that cannot be
    read are skipped. Raise DataError if none can be read.
    """
    chosen = [photos[place * len(photos) // MEASUREMENTS] for place in range(MEASUREMENTS)]
    taken: list[list[tuple[float, float]]] = [[] for _ in classifiers]
    for done, photo in enumerate([*chosen[:WARM_UP], *chosen], 1 - WARM_UP):
        for classifier, times in zip(classifiers, taken, strict=True):
            with suppress(PhotoError):
                stages = clocked(*photo_steps(classifier, photo))()
                if done > 0:
                    times.append((sum(stages), stages[STAGES.index("invoke")]))
        if done > 0:
            on_step(done)
    if not all(taken):
        raise DataError(
            f"{chosen[0]}: neither this nor the other photos can be read; expected some that can"
        )
    return [_medians(times) for times in taken]


def _medians(times: Sequence[tuple[float, float]]) -> dict[str, float]:
    photo, engine = (round(statistics.median(each), 3) for each in zip(*times, strict=True))
    return {"photo": photo, "engine": engine, "measurements": len(times)}


def system(record: Record, latency: Record | None = None) -> dict[str, Any]:
    """Return a record with what a comparison adds.

    A record without a file is one of the Cloud Vision API.
    """
    remote = record.get("file_bytes") is None
    cost = dollars_of_a_million() if remote else 0.0
    return {**record, "latency_ms": latency, "cost_of_a_million_usd": cost, "needs_network": remote}


def made_by(command: Sequence[str]) -> dict[str, Any]:
    """Return the program, command, date, machine and versions of a comparison."""
    machine = board.describe()
    shown = [key for key in ("board", "processor", "cores", "system") if key in machine]
    libraries = ("numpy", "pillow", "matplotlib", "jinja2")
    return {
        "program": f"edgecat report {version('edgecat')}",
        "command": typed(command),
        "date": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "machine": {key: machine[key] for key in shown},
        "versions": {
            "Python": platform.python_version(),
            **{name: version(name) for name in libraries},
        },
    }
