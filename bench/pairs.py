"""What the benchmarks share: photos, models, and the measuring of pairs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from floor import Loop, open_bare_loop
from pytest_benchmark.fixture import BenchmarkFixture

from edgecat.classifier import Classifier
from edgecat.measure import board
from edgecat.measure.latency.series import Series, summarise, take_turns
from edgecat.measure.latency.stages import clocked
from edgecat.measure.synthetic_photo import write_synthetic_photo

SECONDS = 3.0  # at most, of each side of a pair


@pytest.fixture(scope="session")
def large_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 megapixels, with a sensor's noise."""
    path = tmp_path_factory.mktemp("photos") / "large.jpg"
    write_synthetic_photo(path)
    return path


@pytest.fixture(scope="session")
def classifier() -> Iterator[Classifier]:
    with Classifier(threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def bare_loop() -> Loop:
    return open_bare_loop()


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoint mobilenet as int8 .tflite and .onnx, and fp32 .tflite."""
    pytest.importorskip("tf2onnx", reason="needs edgecat[export]")
    pytest.importorskip("ai_edge_quantizer", reason="needs edgecat[export]")
    from edgecat_export.checkpoint import find_checkpoint
    from edgecat_export.pipeline import Request, export

    folder = tmp_path_factory.mktemp("exported")
    export(Request(find_checkpoint("mobilenet"), folder, ["int8"], ["tflite", "onnx"]))
    export(Request(find_checkpoint("mobilenet"), folder, ["fp32"], ["tflite"]))
    return folder


class Pair(NamedTuple):
    """Both sides' milliseconds, summarised; None where benchmarks are run once, as tests."""

    ours: dict[str, float]
    bare: dict[str, float]
    difference: (
        float  # the median one of a run of ours and one of the bare thing soon before or after it
    )

    def ratio(self, of: str = "median_ms") -> float:
        return self.ours[of] / self.bare[of]


@pytest.fixture
def record(benchmark: BenchmarkFixture) -> Callable[..., None]:
    """Store a ratio, or another figure with its budget, in pytest-benchmark's record, and print it.

    Fail if it is above the budget.
    """

    def keep(
        figure: str, value: float, budget: float | None = None, at_least: bool = False, **more: Any
    ) -> None:
        kept = {"figure": figure, "value": round(value, 4), "budget": budget, "at_least": at_least}
        benchmark.extra_info |= {
            **kept,
            **more,
            "environment": board.describe(),
            "state": board.state(),
        }
        limit = (
            "" if budget is None else f" (budget: {'at least' if at_least else 'at most'} {budget})"
        )
        print(f"\n{figure}: {value:.3f}{limit}")
        assert budget is None or (value >= budget if at_least else value <= budget), (
            f"{figure}: {value:.3f}{limit}"
        )

    return keep


@pytest.fixture
def pair(benchmark: BenchmarkFixture) -> Callable[..., Pair | None]:
    """Measure ours and the bare library by turns, as `edgecat bench` does.

    Then let pytest-benchmark measure ours.
    """

    def measure(ours: Callable[[], object], bare: Callable[[], object]) -> Pair | None:
        sides = [
            Series(clocked(lambda _, work=work: work()))  # type: ignore[misc]
            for work in (ours, bare)
        ]
        if benchmark.disabled:
            benchmark(ours)
            bare()
            return None
        for side in sides:
            side.warm(SECONDS / 4)
        take_turns(sides, SECONDS)
        ours_ms, bare_ms = ([times[0] for times in side.times] for side in sides)
        found = Pair(
            summarise(ours_ms),
            summarise(bare_ms),
            statistics.median(one - other for one, other in zip(ours_ms, bare_ms, strict=False)),
        )
        benchmark.extra_info |= {"ours": found.ours, "bare": found.bare}
        benchmark.pedantic(ours, rounds=20, warmup_rounds=1)  # type: ignore[no-untyped-call]
        return found

    return measure
