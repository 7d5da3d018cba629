"""Each engine and model against the bare library, and `edgecat bench` against LiteRT's program."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from floor import CHELSEA, open_bare_engine, open_bare_session
from pytest_benchmark.fixture import BenchmarkFixture

from edgecat.classifier import Classifier
from edgecat.measure.latency.measurement import Configuration, Measurement
from edgecat.measure.latency.series import Series, summarise, take_turns
from edgecat.measure.latency.stages import clocked
from edgecat.models import DEFAULT_MODEL

Paired = Callable[..., Any]
ROUNDS = 5


@pytest.mark.parametrize(
    "name", ["mobilenet-int8.tflite", "mobilenet-fp32.tflite", "mobilenet-int8.onnx"]
)
def test_a_model_against_its_bare_engine(
    pair: Paired, record: Paired, exported: Path, name: str
) -> None:
    model = exported / name
    with Classifier(model, threads=1) as classifier:
        tensor = classifier.tensor(classifier.pixels(CHELSEA))
        bare = open_bare_session(model) if model.suffix == ".onnx" else open_bare_engine(model)[0]
        assert classifier.run(tensor).argmax() == bare(tensor[np.newaxis]).argmax() == 0
        found = pair(lambda: classifier.run(tensor), lambda: bare(tensor[np.newaxis]))
    if found:
        record(f"{name} / bare engine", found.ratio())


@pytest.mark.parametrize("name", ["mobilenet-int8.tflite", "mobilenet-int8.onnx"])
def test_the_whole_way_with_a_model(benchmark: BenchmarkFixture, exported: Path, name: str) -> None:
    with Classifier(exported / name, threads=1) as classifier:
        assert benchmark(classifier.classify, CHELSEA).label == "cat"


def test_edgecat_bench_against_litert_benchmark(
    benchmark: BenchmarkFixture, record: Paired, tmp_path: Path
) -> None:
    """Compare each of our runs with theirs right after it.

    Ours may spread as far as theirs, on a machine that is not at rest.
    """
    ours, theirs = [], []
    result = tmp_path / "theirs.json"
    few = ["--max-seconds", "0.4"] if benchmark.disabled else ["--max-seconds", "4"]
    for _ in range(1 if benchmark.disabled else ROUNDS):
        command = [
            sys.executable,
            "-c",
            "import edgecat.cli; edgecat.cli.main()",
            "bench",
            "--threads",
            "1",
            "--photo",
            str(CHELSEA),
            "--json",
            *few,
        ]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        ours.append(json.loads(done.stdout)["latency"]["median_ms"])
        options = [
            f"--model={DEFAULT_MODEL}",
            "--num_runs=600",
            "--warmup_runs=100",
            f"--result_json={result}",
        ]
        subprocess.run(
            [sys.executable, "-m", "ai_edge_litert.tools.benchmark_litert_model", *options],
            check=True,
            capture_output=True,
        )
        theirs.append(json.loads(result.read_text())["latency"]["median_ms"])
    benchmark(lambda: None)
    if not benchmark.disabled:
        spread, their_spread = (max(medians) / min(medians) - 1 for medians in (ours, theirs))
        ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
        record(
            "edgecat bench / litert-benchmark",
            max(ratio, 1 / ratio),
            1.05,
            ours_ms=ours,
            theirs_ms=theirs,
            spread=spread,
        )
        assert spread <= max(0.1, 1.2 * their_spread)


def test_edgecat_bench_against_a_bare_loop(benchmark: BenchmarkFixture, record: Paired) -> None:
    run, _ = open_bare_engine()
    measurement = Measurement(Configuration(DEFAULT_MODEL, "litert"), CHELSEA)
    measurement.open()
    tensor = measurement.classifier.tensor(measurement.classifier.pixels(CHELSEA))[np.newaxis]
    bare = Series(clocked(lambda _: run(tensor)))
    take_turns([measurement.invoke, bare], 0.1 if benchmark.disabled else 6)
    benchmark(lambda: None)
    if not benchmark.disabled:
        medians = [
            summarise(times[0] for times in series.times)["median_ms"]
            for series in (measurement.invoke, bare)
        ]
        record(
            "edgecat bench / bare loop",
            max(medians[0] / medians[1], medians[1] / medians[0]),
            1.05,
            medians_ms=medians,
        )
