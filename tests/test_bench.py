"""`edgecat bench`: consistent figures that agree with litert-benchmark; one line on misuse."""

from __future__ import annotations

import importlib.util
import json
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_models import colour_tflite, without_zip
from real import ROOT, Run, peak_of
from vision_server import VisionServer

from edgecat.classifier import Classifier
from edgecat.cloud.pricing import dollars_of_a_million
from edgecat.cloud.request import base64_bytes
from edgecat.cloud.wan import Network
from edgecat.errors import DataError, EngineError
from edgecat.measure.latency.benchmark import COLD_STARTS
from edgecat.measure.latency.comparison import read_records
from edgecat.measure.latency.measurement import Configuration, Measurement
from edgecat.measure.latency.published import BOARDS, FIGURES, nearest
from edgecat.measure.latency.series import (
    MIN_RUNS,
    MIN_SECONDS,
    WINDOW,
    Series,
    summarise,
    take_turns,
)
from edgecat.measure.latency.stages import STAGES, clocked, photo_steps
from edgecat.measure.network.inspection import inspect
from edgecat.measure.peak import MACS, convolution, peak_gmacs
from edgecat.measure.synthetic_photo import write_synthetic_photo
from edgecat.models import DEFAULT_MODEL
from edgecat.photo import read_encoded

CHELSEA = ROOT / "tests" / "photos" / "chelsea.jpg"
CODE = (  # so that SIGINT works in the background too
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "import edgecat.cli; edgecat.cli.main()"
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Path]:
    """The records of one run of the command, and the folder with what it wrote."""
    folder = tmp_path_factory.mktemp("bench")
    shutil.copy(CHELSEA, folder)
    options = [
        "--photo",
        "chelsea.jpg",
        "--threads",
        "1,2",
        "--max-seconds",
        "1",
        "--json",
        "--out",
        "here.json",
    ]
    more = [
        "--as",
        "pixel4",
        "--network",
        "rtt=60ms,up=10Mbit",
        *(["--plot", "here.svg"] if importlib.util.find_spec("matplotlib") else []),
    ]
    done = subprocess.run(
        [sys.executable, "-c", CODE, "bench", *options, *more],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [json.loads(line) for line in (folder / "here.json").read_text().splitlines()] == records
    return records, folder


def test_a_record_holds_together(measured: tuple[list[dict[str, Any]], Path]) -> None:
    one, two = measured[0]
    assert (one["num_threads"], two["num_threads"]) == (1, 2)
    for record in (one, two):
        latency = record["latency"]
        order = ["min_ms", "p5_ms", "median_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms"]
        assert [latency[key] for key in order] == sorted(latency[key] for key in order)
        assert latency["min_ms"] <= latency["avg_ms"] <= latency["max_ms"]
        stages = record["stages"]
        assert [*stages] == list(STAGES)
        whole = record["photo_to_answer"]["median_ms"]
        assert sum(stage["avg_ms"] for stage in stages.values()) == pytest.approx(
            record["photo_to_answer"]["avg_ms"], rel=0.01
        )  # of medians it need not
        assert {stage["num_runs"] for stage in stages.values()} == {
            record["photo_to_answer"]["num_runs"]
        }
        cold = record["cold"]
        assert sum(
            cold[f"{part}_ms"]
            for part in ("python", "import", "open", "prepare", "first_inference", "answer")
        ) == pytest.approx(cold["total_ms"], rel=0.3)
        assert cold["total_ms"] > 10 * whole
        assert (cold["num_starts"], latency["init_ms"]) == (COLD_STARTS, cold["open_ms"])
        memory = record["memory"]
        assert memory["first_peak_mb"] <= memory["peak_mb"]
        # Pillow, the engine and the weights are more than what only imports numpy.
        assert memory["first_peak_mb"] > peak_of("") + record["model_size_mb"]
        assert record["throughput"]["workers"] == max(
            1, record["board"]["cores"] // record["num_threads"]
        )
        assert record["macs"] == pytest.approx(384e6, rel=0.01)
        assert record["gmacs_per_s"] == pytest.approx(
            record["macs"] / latency["median_ms"] / 1e6, rel=1e-3
        )
        assert 0 < record["share_of_peak"] < 1.2
        assert 0.1 < record["cores_used"] < record["num_threads"] + 0.5
        assert (record["device"], record["engine"], record["precision"]) == (
            "cpu",
            Classifier().engine,
            "int8",
        )
        assert (record["photo"]["name"], record["photo"]["bytes"]) == (
            "chelsea.jpg",
            CHELSEA.stat().st_size,
        )
        assert "/" not in record["command"]


def test_the_fields_are_those_of_litert_benchmark_and_more(
    measured: tuple[list[dict[str, Any]], Path], tmp_path: Path
) -> None:
    theirs = litert_benchmark(tmp_path, runs=5)
    ours = measured[0][0]
    assert {*theirs} <= {*ours}
    assert {*theirs["latency"]} <= {*ours["latency"]}
    same = ("model_size_mb", "accelerators", "fully_accelerated", "num_threads", "signature")
    assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}
    assert Path(theirs["model"]).name == ours["model"]


def litert_benchmark(folder: Path, runs: int) -> dict[str, Any]:
    """What the program that comes with LiteRT says of the default model."""
    pytest.importorskip(
        "ai_edge_litert.tools.benchmark_litert_model", reason="needs ai-edge-litert"
    )
    result = folder / "theirs.json"
    options = [
        f"--model={DEFAULT_MODEL}",
        f"--num_runs={runs}",
        "--num_threads=1",
        f"--result_json={result}",
    ]
    subprocess.run(
        [sys.executable, "-m", "ai_edge_litert.tools.benchmark_litert_model", *options],
        check=True,
        capture_output=True,
    )
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def test_a_plot_has_the_stages_and_the_models(measured: tuple[list[dict[str, Any]], Path]) -> None:
    pytest.importorskip("matplotlib", reason="needs edgecat[plots]")
    drawn = {*re.findall(r">([^<>]+)</text>", (measured[1] / "here.svg").read_text())}
    assert {
        *STAGES,
        "1. catdog-int8.tflite, 1 thread",
        "2. catdog-int8.tflite, 2 threads",
        "milliseconds from photo to answer",
    } <= drawn


def test_what_others_published_stands_apart(measured: tuple[list[dict[str, Any]], Path]) -> None:
    for record in measured[0]:
        figure = record["published"]["nearest"]
        assert (figure["board"], figure["latency_ms"], figure["model"]) == (
            "pixel4",
            6.5,
            "efficientnet_lite0 1.0, 224 px, int8",
        )
        assert figure["source"].startswith("EfficientNet-Lite's README, Pixel 4")
    assert {figure.board for figure in FIGURES} == {*BOARDS}
    near = nearest("phone", "mobilenet", True, 76_000_000)  # width 0.5 at 160 pixels
    assert near is not None
    assert near.model == "mobilenet 0.25, 224 px, int8"
    assert nearest("pi5", "homemade", False, 7_000_000) is None
    other = nearest("pi5", "mobilenet_v2", True, 300_000_000)  # none in int8
    assert other is not None
    assert other.model.endswith("fp32")


def test_the_cloud_over_a_network_is_computed(measured: tuple[list[dict[str, Any]], Path]) -> None:
    found = measured[0][0]["network"]
    sent = base64_bytes(CHELSEA.read_bytes())
    assert (found["computed"], found["upload_bytes"]) == (True, sent)
    assert found["least_ms"] == pytest.approx(60 + sent * 8 / 10e6 * 1000, abs=0.01)
    assert found["here_is_faster"]
    assert found["here_wins_from_rtt_ms"] == pytest.approx(found["here_ms"], abs=0.01)
    million = found["million_photos"]
    assert million["cloud_usd"] == 1498.5 == dollars_of_a_million()
    assert million["cloud_hours"] == pytest.approx(
        max(sent * 8 * 1e6 / 10e6, 1e6 / 30) / 3600, abs=0.1
    )
    fast = Network.parse("rtt=2ms,up=1Gbit").computed(
        [read_encoded(CHELSEA)], here_ms=100, here_per_s=10
    )
    assert not fast["here_is_faster"]
    assert (fast["here_wins_from_rtt_ms"], fast["here_wins_below_mbit_per_s"]) == (
        100,
        pytest.approx(sent * 8 / 100e3, abs=0.1),
    )
    assert fast["million_photos"]["here_hours"] == pytest.approx(1e5 / 3600, abs=0.1)
    assert fast["million_photos"]["cloud_hours"] == pytest.approx(
        1e6 / 1800 / 60, abs=0.1
    )  # the quota


def test_a_table_for_a_person(edgecat: Run) -> None:
    done = edgecat(
        "bench",
        "--photo",
        CHELSEA,
        "--threads",
        "1",
        "--max-seconds",
        "0.1",
        "--network",
        "rtt=60ms,up=10Mbit",
        "--as",
        "pixel4",
    )
    assert done.returncode == 0
    headings = [block.splitlines()[0] for block in done.stdout.split("\n\n")]
    starts = [
        "engine, ms a run",
        "photo to answer, median ms",
        "cold start ms",
        "PUBLISHED by others, not measured here",
        "COMPUTED: Cloud Vision at least",
    ]
    assert [
        heading[: len(start)] for heading, start in zip(headings, starts, strict=True)
    ] == starts
    rows = [
        re.split("  +", line)[0]
        for block in done.stdout.split("\n\n")
        for line in block.splitlines()[1:]
    ]
    assert {*rows} == {
        "catdog-int8.tflite",
        "phone (Pixel 4): efficientnet_lite0 1.0, 224 px, int8",
    }
    assert (
        "edgecat: note: catdog-int8.tflite: " in done.stderr
    )  # so short a time is too little, and that is said


def test_batches_and_both_engines(edgecat: Run, exported: Path) -> None:
    done = edgecat(
        "bench",
        exported / "mobilenet-int8.onnx",
        exported / "mobilenet-int8.tflite",
        "--batch",
        "1,8",
        "--threads",
        "1",
        "--max-seconds",
        "0.5",
        "--json",
        "--photo",
        CHELSEA,
    )
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(record["model"].split(".")[1], record["batch"]) for record in records] == [
        ("onnx", 1),
        ("onnx", 8),
        ("tflite", 1),
        ("tflite", 8),
    ]
    onnx_runs_on, tflite_runs_on = (record["runs_on"] for record in records[::2])
    assert onnx_runs_on == "CPUExecutionProvider"
    # XNNPACK takes every operation that multiplies.
    assert tflite_runs_on.startswith("XNNPACK")
    assert not {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"} & {
        *re.findall(r"\w+", tflite_runs_on)
    }
    for one, eight in (records[:2], records[2:]):
        assert eight["inferences_per_s"] == pytest.approx(
            8000 / eight["latency"]["median_ms"], rel=1e-3
        )
        assert eight["latency"]["median_ms"] > 3 * one["latency"]["median_ms"]
        assert "stages" not in eight


def test_a_batch_gives_the_scores_of_single_photos(exported: Path) -> None:
    for name in ("mobilenet-fp32.tflite", "mobilenet-fp32.onnx", "mobilenet-int8.tflite"):
        with Classifier(exported / name) as classifier:
            tensors = np.stack(
                [
                    classifier.tensor(classifier.pixels(CHELSEA.with_name(photo)))
                    for photo in ("chelsea.jpg", "coffee.jpg", "chelsea.jpg")
                ]
            )
            single = np.stack([classifier.run(tensor) for tensor in tensors])
            assert classifier.run_batch(tensors) == pytest.approx(single, abs=1e-5)
            assert classifier.run(tensors[0]) == pytest.approx(single[0], abs=1e-6)  # and one again


# How it measures


def test_warming_up_ends_when_the_runs_have_settled() -> None:
    falling = iter([5.0] * 7 + [2.0] * 100)
    series = Series(lambda: [next(falling)])
    series.warm(60)
    assert series.stable
    assert 2 * WINDOW <= len(series.warm_up) < 40
    clock = iter(range(1, 100_000))
    growing = Series(lambda: [float(2 ** (next(clock) % 50))])
    growing.warm(0.05)
    assert not growing.stable


def test_runs_take_turns_until_each_has_enough() -> None:
    order: list[str] = []

    def work(name: str, ms: float) -> Callable[[], list[float]]:
        def run() -> list[float]:
            order.append(name)
            return [ms]

        return run

    slow, quick = Series(work("slow", 15.0)), Series(work("quick", 1.0))
    take_turns([slow, quick], seconds=60)
    assert min(len(slow.times), len(quick.times)) >= MIN_RUNS
    assert min(slow.spent, quick.spent) >= MIN_SECONDS
    turns = [name for name, before in zip(order, ["", *order], strict=False) if name != before]
    assert turns[:4] == ["slow", "quick", "slow", "quick"]
    assert len(turns) > 60  # of some twenty milliseconds each
    late = Series(work("late", 300.0))
    take_turns([late], seconds=1)
    assert len(late.times) == 4  # the time given goes before the number of runs


def test_the_summary_is_numpys_and_statistics_own() -> None:
    values = np.random.default_rng(0).gamma(4, 1, 1000)
    values[0] = 1000
    found = summarise(values)
    assert found["median_ms"] == pytest.approx(statistics.median(values), abs=1e-4)
    assert found["std_ms"] == pytest.approx(statistics.stdev(values), abs=1e-4)
    assert found["p99_ms"] == pytest.approx(
        statistics.quantiles(values, n=100, method="inclusive")[98], abs=1e-4
    )
    assert (found["max_ms"], found["num_runs"]) == (1000, 1000)
    assert 1 <= found["outliers"] < 20


def test_stages_are_the_whole_way(tmp_path: Path) -> None:
    with Classifier() as classifier:
        value: Any = None
        for step in photo_steps(classifier, CHELSEA):
            value = step(value)
        assert value == classifier.classify(CHELSEA)


def test_the_peak_is_measured_with_a_convolution_of_that_work(tmp_path: Path) -> None:
    for int8, dtype in ((True, "int8"), (False, "float32")):
        (tmp_path / "peak.tflite").write_bytes(convolution(int8))
        network = inspect(tmp_path / "peak.tflite").network
        assert network.macs == MACS
        assert dict(network.operations) == {"CONV_2D": 1}
        assert network.inputs[0].dtype == dtype


def test_a_network_does_not_reach_the_peak() -> None:
    """The whole network has the engine's other work to do too, so it is slower a product."""
    peak = peak_gmacs("litert", 1, True)
    assert peak is not None
    macs = inspect(DEFAULT_MODEL).network.macs
    assert macs is not None
    with Classifier(engine="litert", threads=1) as classifier:
        tensor = classifier.tensor(classifier.pixels(CHELSEA))
        series = Series(clocked(lambda _: classifier.run(tensor)))
        series.warm(1)
        take_turns([series], 0.5)
    fastest = macs / summarise(times[0] for times in series.times)["min_ms"] / 1e6
    assert fastest < 1.2 * peak  # the machine may be busier in one of the two
    assert fastest > peak / 20  # the same unit


def test_a_made_photo_is_always_the_same(tmp_path: Path) -> None:
    write_synthetic_photo(tmp_path / "a.jpg")
    write_synthetic_photo(tmp_path / "b.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    assert content == (tmp_path / "b.jpg").read_bytes()
    assert 1e6 < len(content) < 8e6


# Cloud Vision


def test_the_service_is_timed_without_its_kept_answers(edgecat: Run, tmp_path: Path) -> None:
    pytest.importorskip("google.cloud", reason="needs edgecat[cloud]")
    with VisionServer() as server:
        for _ in range(2):
            options = [
                "--photo",
                CHELSEA,
                "--threads",
                "1",
                "--max-seconds",
                "0.3",
                "--cloud-vision",
                "--json",
            ]
            done = edgecat(
                "bench", *options, **server.environment, XDG_CACHE_HOME=str(tmp_path / "cache")
            )
            assert done.returncode == 0, done.stderr
        here, cloud = (json.loads(line) for line in done.stdout.splitlines())
        asked = 2 * cloud["units_paid_for"]
        assert sum(server.answered.values()) == asked == 2 * (1 + 10 + 3 * 16)
    assert (cloud["model"], cloud["device"], cloud["batches"]["photos"]) == (
        "Google Cloud Vision",
        "cloud",
        16,
    )
    assert cloud["upload_bytes"] == base64_bytes(CHELSEA.read_bytes())
    assert cloud["batches"]["latency"]["median_ms"] > cloud["latency"]["median_ms"] > 0
    assert here["device"] == "cpu"


def test_no_key(edgecat: Run, tmp_path: Path) -> None:
    pytest.importorskip("google.cloud", reason="needs edgecat[cloud]")
    nowhere = {
        "GOOGLE_API_KEY": "",
        "GOOGLE_APPLICATION_CREDENTIALS": "",
        "HOME": str(tmp_path),
        "CLOUDSDK_CONFIG": str(tmp_path),
        "NO_GCE_CHECK": "true",
    }
    done = edgecat("bench", "--photo", CHELSEA, "--cloud-vision", **nowhere)
    assert (done.returncode, done.stdout) == (1, "")
    assert "edgecat: Google Cloud Vision needs credentials" in done.stderr


# Comparing


def test_two_files_are_compared(
    measured: tuple[list[dict[str, Any]], Path], edgecat: Run, tmp_path: Path
) -> None:
    records, folder = measured
    twice = [json.loads(json.dumps(record)) for record in records]
    for record in twice:
        record["latency"]["median_ms"] *= 2
    (tmp_path / "later.json").write_text("".join(json.dumps(record) + "\n" for record in twice))
    done = edgecat("bench", "--compare", folder / "here.json", "later.json")
    rows = [re.split("  +", row) for row in done.stdout.splitlines()]
    assert [row[5] for row in rows[1:]] == ["2.000", "2.000"]
    assert "*" not in done.stdout
    twice[0]["board"]["processor"] = twice[1]["board"]["processor"] = "Cortex-A76"
    (tmp_path / "pi.json").write_text("".join(json.dumps(record) + "\n" for record in twice))
    other = edgecat("bench", "--compare", folder / "here.json", "pi.json")
    assert other.returncode == 0
    assert "catdog-int8.tflite *" in other.stdout
    assert other.stdout.splitlines()[-1].startswith("* measured on different boards: ")
    assert "Cortex-A76" in other.stdout
    (line, _) = edgecat(
        "bench", "--compare", folder / "here.json", "pi.json", "--json"
    ).stdout.splitlines()
    assert (json.loads(line)["ratio"]["engine"], json.loads(line)["same_board"]) == (2, False)


def test_files_that_cannot_be_compared(
    measured: tuple[list[dict[str, Any]], Path], edgecat: Run, tmp_path: Path
) -> None:
    record = measured[0][0]
    here = measured[1] / "here.json"
    version = "format version 2, expected 1; measure again, or use the edgecat that wrote it"
    same = "expected the same model, precision, device, threads and batch in each"
    for name, content, error in (
        (
            "newer.json",
            json.dumps({**record, "format_version": 2}),
            f"newer.json, line 1: {version}",
        ),
        (
            "none.json",
            "{}\n",
            "none.json, line 1: no record of a benchmark; "
            "expected the output of: edgecat bench --json",
        ),
        (
            "text.json",
            "\nhello\n",
            "text.json, line 2: not JSON (Expecting value); "
            "expected the output of: edgecat bench --json",
        ),
        ("empty.json", "\n", "empty.json: empty; expected the output of: edgecat bench --json"),
        (
            "other.json",
            json.dumps({**record, "num_threads": 7}),
            f"no configuration is in both files; {same}",
        ),
    ):
        (tmp_path / name).write_text(content)
        done = edgecat("bench", "--compare", here, name)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"edgecat: {error}\n")
    with pytest.raises(DataError, match=r"gone\.json: No such file or directory"):
        read_records(tmp_path / "gone.json")


# Misuse


@pytest.mark.parametrize(
    ("options", "status", "error"),
    [
        (["--threads", "0"], 2, "'0', expected whole numbers from 1 to 256"),
        (["--threads", "1000"], 2, "'1000', expected whole numbers from 1 to 256"),
        (["--threads", "two"], 2, "'two', expected whole numbers from 1 to 256"),
        (["--batch", "0"], 2, "'0', expected whole numbers from 1 to 1024"),
        (
            ["--device", "npu"],
            2,
            "'npu', expected one of cpu, gpu, cuda, tensorrt, coreml, directml",
        ),
        (
            ["--device", "cuda"],
            1,
            "edgecat: device 'cuda' is none of the engines for .tflite files; "
            "expected cpu or gpu\n",
        ),
        (["--as", "pi9"], 2, "'pi9', expected one of pi-zero2w, pi4, pi5, phone, pixel4"),
        (["--network", "fast"], 2, "'fast', expected such as rtt=60ms,up=10Mbit"),
        (["--network", "rtt=1ms,up=0Mbit"], 2, "expected such as rtt=60ms,up=10Mbit"),
        (["--plot", "here.txt"], 2, "'here.txt', expected a name that ends in .svg, .png or .pdf"),
        (
            ["--engine", "onnxruntime"],
            1,
            "edgecat: engine 'onnxruntime' does not run .tflite files; "
            "expected litert or tflite-runtime or tensorflow\n",
        ),
        (["--photo", "gone.jpg"], 1, "edgecat: gone.jpg: no such file\n"),
        (["gone.tflite"], 1, "edgecat: gone.tflite: no such model file"),
    ],
)
def test_misuse(edgecat: Run, options: list[str], status: int, error: str) -> None:
    done = edgecat("bench", *options)
    assert (done.returncode, done.stdout) == (status, "")
    assert " ".join(error.split()) in " ".join(re.sub("[│\n]", " ", done.stderr).split())


def test_a_photo_that_cannot_be_read(edgecat: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(CHELSEA.read_bytes()[:5000])
    done = edgecat("bench", "--photo", "broken.jpg")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("edgecat: broken.jpg: broken photo (")
    assert done.stderr.count("\n") == 1


def test_an_engine_that_is_not_installed(edgecat: Run) -> None:
    pytest.importorskip("ai_edge_litert")
    done = edgecat("bench", "--engine", "tflite-runtime")
    assert (done.returncode, done.stderr) == (
        1,
        "edgecat: no engine for .tflite files is installed; "
        "install one with: pip install 'edgecat[tflite-runtime]'\n",
    )


def test_a_device_that_is_not_there_is_not_replaced(edgecat: Run, exported: Path) -> None:
    done = edgecat(
        "bench", "--device", "cuda", exported / "mobilenet-int8.onnx", "--photo", CHELSEA
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.match(
        r"edgecat: device 'cuda' is not in this ONNX Runtime, which has .*; "
        r"pip install onnxruntime-gpu in place of",
        done.stderr,
    )
    gpu = edgecat("bench", "--device", "gpu", "--photo", CHELSEA)
    if gpu.returncode:  # where there is none
        assert gpu.stdout == ""
        assert re.fullmatch(
            r"edgecat: .*catdog-int8\.tflite: LiteRT \S+ finds no GPU that takes this model "
            r"\(.+\); install the GPU's Vulkan driver, or use --device cpu\n",
            gpu.stderr,
        )


def test_one_that_fails_does_not_stop_the_others(edgecat: Run, tmp_path: Path) -> None:
    (tmp_path / "unknown.tflite").write_bytes(without_zip())  # nothing says what its outputs are
    done = edgecat(
        "bench",
        "unknown.tflite",
        DEFAULT_MODEL,
        "--threads",
        "1",
        "--photo",
        CHELSEA,
        "--max-seconds",
        "0.3",
        "--json",
    )
    assert done.returncode == 1
    assert [json.loads(line)["model"] for line in done.stdout.splitlines()] == [
        "catdog-int8.tflite"
    ]
    assert "edgecat: unknown.tflite: " in done.stderr
    described = edgecat(
        "bench",
        "unknown.tflite",
        "--labels",
        "cat,dog,neither",
        "--threads",
        "1",
        "--photo",
        CHELSEA,
        "--max-seconds",
        "0.3",
        "--json",
    )
    assert described.returncode == 0, described.stderr


def test_a_model_that_does_not_fit_memory(tmp_path: Path) -> None:
    colour_tflite(tmp_path / "huge.tflite", np.eye(3), size=20_000)  # a photo of it takes 4.8 GB

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4_000_000_000, 4_000_000_000))

    options = [
        "huge.tflite",
        "--labels",
        "a,b,c",
        "--mean",
        "0",
        "--std",
        "1",
        "--probabilities",
        "--photo",
        str(CHELSEA),
        "--threads",
        "1",
    ]
    done = subprocess.run(
        [sys.executable, "-c", CODE, "bench", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"edgecat: huge\.tflite: .*the memory that is free here(; use a smaller model)?\n",
        done.stderr,
    )


def test_a_process_that_dies_of_a_model_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    dying = subprocess.CompletedProcess([], -signal.SIGKILL, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: dying)
    measurement = Measurement(Configuration(DEFAULT_MODEL, "litert"), CHELSEA)
    with pytest.raises(
        EngineError,
        match=r"a process that opens it ends at once \(signal SIGKILL\); "
        "it may not fit the memory that is free here",
    ):
        measurement.start_cold()


def test_a_file_that_cannot_be_written(edgecat: Run, tmp_path: Path) -> None:
    done = edgecat(
        "bench",
        "--photo",
        CHELSEA,
        "--threads",
        "1",
        "--max-seconds",
        "0.3",
        "--out",
        "no/such/folder.json",
    )
    assert done.returncode == 1
    assert done.stdout.startswith("engine, ms a run")  # what was measured is shown all the same
    assert (
        "edgecat: no/such/folder.json: cannot be written (No such file or directory); "
        "give another name\n"
    ) in done.stderr


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    pressing = """
import os, signal
from edgecat.measure.latency import benchmark

take_turns = benchmark.take_turns

def interrupted_turns(series, seconds, on_step):
    def interrupt(done, of):
        if done > 5:
            os.kill(os.getpid(), signal.SIGINT)

    take_turns(series, seconds, interrupt)

benchmark.take_turns = interrupted_turns
"""
    options = [
        "--photo",
        str(CHELSEA),
        "--threads",
        "1",
        "--max-seconds",
        "600",
        "--json",
        "--out",
        "kept.json",
    ]
    done = subprocess.run(
        [sys.executable, "-c", pressing + CODE, "bench", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130
    assert done.stderr == "edgecat: interrupted: the figures are of what was measured until then\n"
    (record,) = map(json.loads, done.stdout.splitlines())
    assert record["interrupted"]
    assert record["latency"]["num_runs"] >= 1
    assert "throughput" not in record
    assert (tmp_path / "kept.json").read_text() == done.stdout


def test_ctrl_c_before_anything_was_measured(tmp_path: Path) -> None:
    pressing = """
import os, signal
from edgecat.measure.latency.measurement import Measurement

Measurement.start_cold = lambda self: os.kill(os.getpid(), signal.SIGINT)
"""
    command = [sys.executable, "-c", pressing + CODE, "bench", "--photo", str(CHELSEA)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (
        130,
        "",
        "edgecat: interrupted before anything was measured\n",
    )
