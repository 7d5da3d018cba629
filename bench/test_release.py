"""The budgets of a release: the wheel's size, the default model's accuracy and its int8 loss."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from floor import TEST_SET
from pytest_benchmark.fixture import BenchmarkFixture

from edgecat.classifier import Classifier
from edgecat.measure.accuracy import Evaluation, evaluate, find_labelled_photos
from edgecat.models import DEFAULT_MODEL

Recorded = Callable[..., None]
needs_photos = pytest.mark.skipif(
    not TEST_SET.is_dir(), reason="needs ../shared/data/test_set, which is not here"
)


def test_the_wheel(benchmark: BenchmarkFixture, record: Recorded, tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="needs edgecat[dev]")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path),
        str(Path(__file__).parent.parent),
    ]
    benchmark.pedantic(
        subprocess.run, (command,), {"check": True, "capture_output": True}, rounds=1
    )  # type: ignore[no-untyped-call]
    (wheel,) = tmp_path.glob("*.whl")
    record("wheel, MB", wheel.stat().st_size / 1e6, 15)


def judged(model: Path, disabled: bool) -> Evaluation:
    photos = list(find_labelled_photos([str(TEST_SET)]))
    with Classifier(model) as classifier:
        return evaluate(classifier, photos[::100] if disabled else photos, lambda done: None)


@needs_photos
def test_the_default_models_accuracy(benchmark: BenchmarkFixture, record: Recorded) -> None:
    asked = (DEFAULT_MODEL, benchmark.disabled)
    found = benchmark.pedantic(judged, asked, rounds=1)  # type: ignore[no-untyped-call]
    classes = {label: 100 * found.accuracy(label) for label in found.labels()}
    assert min(classes.values()) >= (80 if benchmark.disabled else 98)
    if not benchmark.disabled:
        record(
            "default model, accuracy on test_set, %",
            100 * found.accuracy(),
            98,
            at_least=True,
            classes=classes,
        )


@needs_photos
def test_what_int8_costs_the_default_model(
    benchmark: BenchmarkFixture, record: Recorded, tmp_path: Path
) -> None:
    if benchmark.disabled:
        pytest.skip("exporting takes long; run it without --benchmark-disable")
    pytest.importorskip("tf2onnx", reason="needs edgecat[export]")
    from edgecat_export.checkpoint import find_checkpoint
    from edgecat_export.pipeline import Request, export

    checkpoint = find_checkpoint("efficientnet_lite0")
    export(Request(checkpoint, tmp_path, ["fp32", "int8"], ["tflite"]))
    both = [
        judged(tmp_path / f"efficientnet_lite0-{precision}.tflite", False).accuracy()
        for precision in ("fp32", "int8")
    ]
    benchmark(lambda: None)
    record("int8 against fp32 on test_set, points lost", 100 * (both[0] - both[1]), 0.3)
