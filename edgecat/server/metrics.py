"""The metrics at /metrics, for Prometheus.

Several processes share their numbers in PROMETHEUS_MULTIPROC_DIR; any of them answers for all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

# Of a request: its body, its JSON; of a photo: waiting, decoding, the engine.
STAGES = ("receive", "read", "queue", "decode", "run")
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """The counters of one server, in their own registry."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._own = CollectorRegistry()
        self._requests = Counter(
            "edgecat_requests",
            "Requests answered, by what was asked and HTTP's code.",
            ("route", "code"),
            registry=self._own,
        )
        self._photos = Counter(
            "edgecat_photos",
            "Photos answered, by label or the google.rpc code of the error.",
            ("answer",),
            registry=self._own,
        )
        self._seconds = Histogram(
            "edgecat_request_seconds",
            "From a request's headers to its answer.",
            ("route",),
            registry=self._own,
            buckets=_SECONDS,
        )
        stage = Histogram(
            "edgecat_stage_seconds",
            "Of requests and photos, by stage.",
            ("stage",),
            registry=self._own,
            buckets=_SECONDS,
        )
        self._stages = {name: stage.labels(name) for name in STAGES}
        self._model = Gauge(
            "edgecat_model",
            "1 for the model that answers.",
            ("model", "engine", "version"),
            registry=self._own,
            multiprocess_mode="max",
        )

    def model(self, model: str, engine: str, version: str) -> None:
        self._model.labels(model, engine, version).set(1)

    def request(self, route: str, code: int, seconds: float) -> None:
        self._requests.labels(route, str(code)).inc()
        self._seconds.labels(route).observe(seconds)

    def photo(self, answer: str) -> None:
        self._photos.labels(answer).inc()

    def stages(self, seconds: Mapping[str, float]) -> None:
        for name, taken in seconds.items():
            self._stages[name].observe(taken)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._own)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
