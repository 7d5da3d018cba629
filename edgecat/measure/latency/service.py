"""The latency of a cloud service: the time from a request to its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgecat.measure import board
from edgecat.measure.latency.record import FORMAT_VERSION, Record
from edgecat.measure.latency.series import summarise
from edgecat.photo import EncodedPhoto

SINGLES, BATCHES = 10, 3  # requests of one photo, requests of as many as the service takes


class Service(Protocol):
    """A service that classifies photos."""

    @property
    def name(self) -> str: ...

    @property
    def engine(self) -> str: ...

    def time_request(self, contents: Sequence[bytes]) -> float:
        """Return the milliseconds of one request."""
        ...


@dataclass(frozen=True)
class Upload:
    """What is sent for one photo."""

    content: bytes
    request_bytes: int  # of a request with this photo
    most: int  # photos of this size in one request


def measure_service(
    service: Service,
    photo: EncodedPhoto,
    upload: Upload,
    on_step: Callable[[str, int, int], None],
) -> Record:
    """Return a record of requests with one photo, and with as many as a request takes."""
    before = board.state()
    times: dict[int, list[float]] = {1: [], upload.most: []}
    service.time_request([upload.content])  # opens the connection
    for count, requests in ((1, SINGLES), (upload.most, BATCHES)):
        for number in range(requests):
            on_step(f"asking {service.name} about {count} at once", number + 1, requests)
            times[count].append(service.time_request([upload.content] * count))
    return {
        "format_version": FORMAT_VERSION,
        "model": service.name,
        "engine": service.engine,
        "device": "cloud",
        "precision": "",
        "accuracy": None,
        "num_threads": 1,
        "batch": 1,
        "upload_bytes": upload.request_bytes,
        "latency": summarise(times[1]),
        "batches": {"photos": upload.most, "latency": summarise(times[upload.most])},
        "photo": {"name": Path(photo.name).name, "bytes": len(photo.content)},
        "units_paid_for": 1 + SINGLES + upload.most * BATCHES,
        "board": board.describe(),
        "before": before,
        "after": board.state(),
        "warnings": [],
    }
