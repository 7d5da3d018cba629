"""What a server process needs to start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edgecat.classifier import Classifier
from edgecat.foreign.description import Description
from edgecat.server.pool import MAX_WAITING


class Limits(NamedTuple):
    """Limits of time, in seconds, and of memory."""

    silence: float = 10.0  # between two pieces of a body
    least_rate: float = 50_000.0  # bytes a second of a body on average, once `silence` is over
    answer: float = 60.0  # from the body to the answer
    waiting: int = MAX_WAITING  # photos
    held: int = 256 * 1024 * 1024  # bytes of all bodies that are in memory


LIMITS = Limits()


@dataclass(frozen=True)
class Settings:
    """What a process needs to open the model and answer."""

    model: Path | None = None  # None: the model that comes with edgecat
    engine: str | None = None
    description: Description | None = None
    key: str = ""  # that clients must send; empty: no key is needed
    threads: int = 1  # that decode and classify
    limits: Limits = LIMITS

    def open(self) -> Classifier:
        """Return the classifier; each thread gets its own engine, which uses one thread.

        Raise ModelError, EngineError.
        """
        return Classifier(self.model, engine=self.engine, threads=1, description=self.description)
