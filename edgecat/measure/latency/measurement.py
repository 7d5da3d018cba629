"""One configuration of a model file and engine, while it is measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecat.classifier import Classifier
from edgecat.engines import cores
from edgecat.foreign.description import Description
from edgecat.measure.energy import measure_energy
from edgecat.measure.latency.cold_start import start_cold
from edgecat.measure.latency.series import Series
from edgecat.measure.latency.stages import clocked, photo_steps

THROUGHPUT_SECONDS, ENERGY_SECONDS = 1.0, 1.0


@dataclass(frozen=True)
class Configuration:
    """What is measured: a model file, and how it runs."""

    model: Path
    engine: str
    device: str = "cpu"
    threads: int = 1
    batch: int = 1
    description: Description | None = None  # of a model that does not describe itself


class Measurement:
    """The figures of one configuration; `invoke` is the engine, `whole` is photo to answer.

    `whole` stays empty for batches of several photos. Methods raise EdgecatError if the
    configuration cannot run.
    """

    def __init__(self, configuration: Configuration, photo: Path) -> None:
        self.configuration, self.photo = configuration, photo
        self.cold: list[dict[str, float | None]] = []
        self.invoke = Series(list)
        self.whole = Series(list)
        self.throughput: dict[str, Any] = {}
        self.energy: dict[str, Any] = {}
        self._resources = ExitStack()

    def start_cold(self) -> None:
        """Start one more process that classifies the photo."""
        self.cold.append(start_cold(self.configuration, self.photo))

    def open(self) -> None:
        """Open the model and prepare the series."""
        configuration = self.configuration
        self.classifier = self._resources.enter_context(
            Classifier(
                configuration.model,
                engine=configuration.engine,
                device=configuration.device,
                threads=configuration.threads,
                description=configuration.description,
            )
        )
        tensor = self.classifier.tensor(self.classifier.pixels(self.photo))
        self.input_bytes = configuration.batch * tensor.nbytes
        if configuration.batch == 1:
            self.invoke = Series(clocked(lambda _: self.classifier.run(tensor)))
            self.whole = Series(clocked(*photo_steps(self.classifier, self.photo)))
        else:
            shape = (configuration.batch, *tensor.shape)
            tensors = np.ascontiguousarray(np.broadcast_to(tensor, shape))
            self.invoke = Series(clocked(lambda _: self.classifier.run_batch(tensors)))
            self.invoke.work()  # raises EngineError if the model's batch size is fixed at 1

    def close(self) -> None:
        """Close the model, if it is open."""
        self._resources.close()

    def series(self) -> list[Series]:
        """Return what takes turns with the series of other configurations."""
        return [self.invoke, self.whole] if self.configuration.batch == 1 else [self.invoke]

    def measure_throughput(self) -> None:
        """Measure photos per second, with one worker and with all cores; single photos only."""
        if self.configuration.batch > 1:
            return
        workers = max(1, cores() // self.configuration.threads)
        single = self._photos_per_second(1)
        together = self._photos_per_second(workers) if workers > 1 else single
        self.throughput = {
            "one_worker_per_s": round(single, 2),
            "all_cores_per_s": round(together, 2),
            "workers": workers,
        }

    def _photos_per_second(self, workers: int) -> float:
        began = time.perf_counter()
        until = began + THROUGHPUT_SECONDS

        def photos() -> Iterator[Path]:
            while time.perf_counter() < until:
                yield self.photo

        count = sum(1 for _ in self.classifier.classify_many(photos(), workers=workers))
        return count / (time.perf_counter() - began)

    def measure_energy(self) -> None:
        """Measure the energy of one inference; nothing if the machine has no sensor."""
        runs = 0
        until = time.perf_counter() + ENERGY_SECONDS
        with measure_energy() as energy:
            while time.perf_counter() < until:
                self.invoke.work()
                runs += 1
        if energy.joules is not None and energy.watts is not None:
            photos = runs * self.configuration.batch
            self.energy = {
                "watts": round(energy.watts, 3),
                "mj_per_inference": round(1000 * energy.joules / photos, 4),
                "source": energy.source,
            }
