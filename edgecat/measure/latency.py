"""Latency of model files on this board: cold, warm, by stage, with the machine's state beside it.

What is compared is measured by turns, in slices of some twenty milliseconds, so that whatever disturbs one disturbs all. Nothing is dropped: outliers are
counted and the largest value is kept.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from edgecat.classifier import Classifier
from edgecat.engines import cores
from edgecat.errors import DataError, EdgecatError, EngineError
from edgecat.foreign.description import Description
from edgecat.formats import detect
from edgecat.measure import board
from edgecat.measure.network import inspect
from edgecat.photo import decode, read_encoded, read_pixels

Record: TypeAlias = "dict[str, Any]"

FORMAT_VERSION = 1
STAGES = ("decode", "resize", "table", "invoke", "answer")  # of one photo, in their order
COLD_STARTS = 5
MIN_RUNS, MIN_SECONDS = 50, 1.0  # of what is measured, unless the time given is over before
SLICE_MS = 20.0  # that one of several runs before it is the next one's turn
STABLE = 0.02  # warm is where the medians of two windows of runs differ by less
WINDOW = 10  # runs
THROUGHPUT_SECONDS, ENERGY_SECONDS = 1.0, 1.0

Progress: TypeAlias = "Callable[[str, int, int], None]"  # phase, done, of


@dataclass(frozen=True)
class Configuration:
    """What is measured: a model file, and how it is run."""

    model: Path
    engine: str
    device: str = "cpu"
    threads: int = 1
    batch: int = 1
    description: Description | None = None  # of a model that does not describe itself


@dataclass
class Series:
    """A piece of work and how long it took, each time. `work` returns the milliseconds of its parts."""

    work: Callable[[], Sequence[float]]
    times: list[Sequence[float]] = field(default_factory=list)
    warm_up: list[float] = field(default_factory=list)  # milliseconds
    spent: float = 0.0  # seconds, measured
    processor: float = 0.0  # seconds of all threads, while it ran
    wall: float = 0.0  # seconds, the same by the clock
    stable: bool = False

    def warm(self, seconds: float) -> None:
        """Run until the medians of the last two windows agree, or for so long."""
        until = time.perf_counter() + seconds
        while not self.stable and (time.perf_counter() < until or len(self.warm_up) < 2):
            self.warm_up.append(sum(self.work()))
            last, before = self.warm_up[-WINDOW:], self.warm_up[-2 * WINDOW : -WINDOW]
            self.stable = (
                len(before) == WINDOW
                and abs(statistics.median(last) / statistics.median(before) - 1) < STABLE
            )

    def slice(self) -> None:
        """Some runs in a row, after one that does not count and brings back to the caches what others pushed out."""
        self.work()
        processor, wall, slice_ms = time.process_time(), time.perf_counter(), 0.0
        while slice_ms < SLICE_MS:
            taken = self.work()
            self.times.append(taken)
            slice_ms += sum(taken)
        self.spent += slice_ms / 1000
        self.processor += time.process_time() - processor
        self.wall += time.perf_counter() - wall

    def done(self, seconds: float) -> bool:
        return self.spent >= seconds or (len(self.times) >= MIN_RUNS and self.spent >= MIN_SECONDS)


def take_turns(
    series: Sequence[Series],
    seconds: float,
    on_step: Callable[[int, int], None] = lambda done, of: None,
) -> None:
    """Measure all, slice by slice, each until it has enough runs or the seconds are over."""
    while waiting := [each for each in series if not each.done(seconds)]:
        for each in waiting:
            each.slice()
        share = min(
            max(each.spent / seconds, min(len(each.times) / MIN_RUNS, each.spent / MIN_SECONDS))
            for each in series
        )
        on_step(min(100, round(100 * share)), 100)


def clocked(*steps: Callable[[Any], Any]) -> Callable[[], list[float]]:
    """Work of several steps, each given what the one before returned: the milliseconds of each."""

    def work() -> list[float]:
        value: Any = None
        clock = [time.perf_counter()]
        for step in steps:
            value = step(value)
            clock.append(time.perf_counter())
        return [1000 * (end - start) for start, end in pairwise(clock)]

    return work


def photo_steps(classifier: Classifier, photo: str | Path) -> list[Callable[[Any], Any]]:
    """`STAGES` of a classifier on one photo."""
    recipe = classifier.card.input
    return [
        lambda _: decode(photo, at_least=recipe.least),
        lambda image: read_pixels(image, recipe),
        classifier.tensor,
        classifier.run,
        classifier.interpret,
    ]


def summary(times: Iterable[float]) -> dict[str, float]:
    """Of milliseconds, by litert-benchmark's names and some more; outliers lie more than three quartile ranges beyond the quartiles (Tukey's far out)."""
    values = np.asarray(list(times))
    low, high = np.percentile(values, (25, 75))
    percentiles = {
        f"p{percent}_ms": float(np.percentile(values, percent)) for percent in (5, 90, 95, 99)
    }
    found = {
        **{
            "avg_ms": float(values.mean()),
            "min_ms": float(values.min()),
            "max_ms": float(values.max()),
            "median_ms": float(np.median(values)),
        },
        **{"std_ms": float(values.std(ddof=1)) if len(values) > 1 else 0.0, **percentiles},
    }
    outliers = ((values < low - 3 * (high - low)) | (values > high + 3 * (high - low))).sum()
    return {
        **{name: round(value, 4) for name, value in found.items()},
        "num_runs": len(values),
        "outliers": int(outliers),
    }


class Measurement:
    """One configuration, while it is measured. Raises EdgecatError where it cannot be."""

    def __init__(self, configuration: Configuration, photo: Path) -> None:
        self.configuration, self.photo = configuration, photo
        self.cold: list[Record] = []
        self.invoke = self.whole = Series(list)
        self.throughput: Record = {}
        self.energy: Record = {}

    @property
    def name(self) -> str:
        return self.configuration.model.name

    def start_cold(self) -> None:
        """One more process that classifies one photo; raises EngineError where it cannot, or dies of it."""
        wanted = self.configuration
        asked: Record = {
            "model": str(wanted.model),
            "engine": wanted.engine,
            "device": wanted.device,
            "threads": wanted.threads,
            "photo": str(self.photo),
        }
        if wanted.description is not None:
            asked["description"] = asdict(wanted.description)
        began = time.monotonic_ns()
        done = subprocess.run(
            [sys.executable, "-m", "edgecat.measure.cold_start", json.dumps(asked)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        try:
            said = json.loads(done.stdout.strip().splitlines()[-1])
        except (IndexError, ValueError):
            reason = (
                f"signal {signal.Signals(-done.returncode).name}"
                if done.returncode < 0
                else (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            )
            raise EngineError(
                f"{wanted.model}: a process that opens it ends at once ({reason}); it may not fit the memory that is free here"
            ) from None
        if "error" in said:
            raise EngineError(said["error"])
        clock = [
            said["clock"][step]
            for step in ("started", "imported", "opened", "prepared", "ran", "answered")
        ]
        names = (
            "python_ms",
            "import_ms",
            "open_ms",
            "prepare_ms",
            "first_inference_ms",
            "answer_ms",
        )
        steps = {
            name: (end - start) / 1e6
            for name, start, end in zip(names, [began, *clock], clock, strict=False)
        }
        self.cold.append(
            {
                **steps,
                "total_ms": (clock[-1] - began) / 1e6,
                **{key: said[key] for key in ("first_peak_mb", "peak_mb", "steady_mb")},
            }
        )

    def open(self) -> None:
        wanted = self.configuration
        self.classifier = Classifier(
            wanted.model,
            engine=wanted.engine,
            device=wanted.device,
            threads=wanted.threads,
            description=wanted.description,
        )
        tensor = self.classifier.tensor(self.classifier.pixels(self.photo))
        self.input_bytes = wanted.batch * tensor.nbytes
        tensors = np.ascontiguousarray(np.broadcast_to(tensor, (wanted.batch, *tensor.shape)))
        if wanted.batch == 1:
            self.invoke = Series(clocked(lambda _: self.classifier.run(tensor)))
            self.whole = Series(clocked(*photo_steps(self.classifier, self.photo)))
        else:
            self.invoke = Series(clocked(lambda _: self.classifier.run_batch(tensors)))
            self.invoke.work()  # raises where the model takes one photo alone

    def close(self) -> None:
        if self.invoke.times:
            self.classifier.close()

    def series(self) -> list[Series]:
        return [self.invoke, self.whole] if self.configuration.batch == 1 else [self.invoke]

    def measure_throughput(self) -> None:
        """Photos a second, one after another and with all cores."""
        wanted = self.configuration
        workers = max(1, cores() // wanted.threads)
        if wanted.batch == 1:
            alone = [self._photos_a_second(1), 0.0]
            together = self._photos_a_second(workers) if workers > 1 else alone[0]
            self.throughput = {
                "one_worker_per_s": round(alone[0], 2),
                "all_cores_per_s": round(together, 2),
                "workers": workers,
            }

    def _photos_a_second(self, workers: int) -> float:
        photos = 0

        def endless() -> Iterable[Path]:
            nonlocal photos
            while time.perf_counter() < until:
                photos += 1
                yield self.photo

        began = time.perf_counter()
        until = began + THROUGHPUT_SECONDS
        for _ in self.classifier.classify_many(endless(), workers=workers):
            pass
        return photos / (time.perf_counter() - began)

    def measure_energy(self) -> None:
        runs = 0
        until = time.perf_counter() + ENERGY_SECONDS
        with board.energy() as used:
            while time.perf_counter() < until:
                self.invoke.work()
                runs += 1
        if used.joules is not None and used.watts is not None:
            self.energy = {
                "watts": round(used.watts, 3),
                "mj_per_inference": round(1000 * used.joules / runs / self.configuration.batch, 4),
                "source": used.source,
            }

    def record(self) -> Record | None:
        """What was measured so far; None where that is nothing."""
        if not self.invoke.times:
            return None
        wanted, classifier = self.configuration, self.classifier
        latency = summary(times[0] for times in self.invoke.times)
        card, spec = classifier.card, classifier.card.input
        inspection = _inspected(wanted.model)
        macs = inspection.network.macs if inspection else None
        per_second = macs * wanted.batch / latency["median_ms"] / 1e6 if macs else None
        peak = _peak(classifier, wanted)
        cold = (
            {
                key: round(statistics.median(start[key] for start in self.cold), 3)
                for key, value in self.cold[0].items()
                if value
            }
            if self.cold
            else {}
        )
        memory = {
            key: cold.pop(key)
            for key in ("first_peak_mb", "peak_mb", "steady_mb")
            if cold.get(key) is not None
        }
        stages = (
            [summary(times) for times in zip(*self.whole.times, strict=True)]
            if self.whole.times
            else []
        )
        return {
            "format_version": FORMAT_VERSION,
            "program": f"edgecat bench {version('edgecat')}",
            **{
                "model": self.name,
                "model_size_mb": round(wanted.model.stat().st_size / 2**20, 2),
                "sha256": card.sha256,
            },
            **{
                "architecture": card.architecture,
                "precision": card.precision,
                "accuracy": card.evaluation.get("accuracy") if card.evaluation else None,
            },
            **{
                "height": spec.height,
                "width": spec.width,
                "engine": classifier.engine,
                "device": wanted.device,
                "runs_on": classifier.runs_on,
            },
            **{
                "accelerators": [wanted.device.upper()],
                "fully_accelerated": wanted.device != "cpu",
            },  # an engine that would leave parts to the CPU is refused
            "signature": (inspection.network.signature if inspection else "")
            or "serving_default",  # which LiteRT takes where a file has none
            **{"num_threads": wanted.threads, "batch": wanted.batch},
            "cores_used": round(self.invoke.processor / self.invoke.wall, 2),
            "latency": {
                **(
                    {"init_ms": cold["open_ms"], "warmup_first_ms": cold["first_inference_ms"]}
                    if cold
                    else {}
                ),
                **{
                    "warmup_avg_ms": round(statistics.mean(self.invoke.warm_up), 4),
                    "num_warmup_runs": len(self.invoke.warm_up),
                },
                **latency,
            },
            "throughput_mb_s": round(self.input_bytes / 2**20 / latency["avg_ms"] * 1000, 2),
            "inferences_per_s": round(1000 * wanted.batch / latency["median_ms"], 2),
            **({"cold": {**cold, "num_starts": len(self.cold)}} if cold else {}),
            **(
                {
                    "stages": dict(zip(STAGES, stages, strict=True)),
                    "photo_to_answer": summary(map(sum, self.whole.times)),
                }
                if stages
                else {}
            ),
            **({"throughput": self.throughput} if self.throughput else {}),
            **({"memory": memory} if memory else {}),
            **({"macs": macs, "gmacs_per_s": round(per_second, 3)} if macs and per_second else {}),
            **({"peak_gmacs_per_s": round(peak, 1)} if peak else {}),
            **({"share_of_peak": round(per_second / peak, 4)} if peak and per_second else {}),
            **({"energy": self.energy} if self.energy else {}),
            "stable": self.invoke.stable,
        }


def measure(
    configurations: Sequence[Configuration],
    photo: Path,
    max_seconds: float,
    on_step: Progress,
    on_error: Callable[[EdgecatError], None],
) -> tuple[list[Record], bool]:
    """A record of each configuration, in their order, and whether Ctrl-C ended it before time: what was measured until then is in them.

    A configuration that cannot be measured is handed to `on_error` and left out. `max_seconds` is for each, cold starts not counted.
    """
    described, before = board.describe(), board.state()
    encoded = read_encoded(photo)
    width, height = decode(photo).size
    measurements = [Measurement(configuration, photo) for configuration in configurations]
    interrupted = False
    try:
        for start in range(COLD_STARTS):
            for number, each in enumerate(list(measurements)):
                on_step(
                    "starting cold",
                    start * len(measurements) + number + 1,
                    COLD_STARTS * len(measurements),
                )
                _or_leave_out(each.start_cold, each, measurements, on_error)
        for each in list(measurements):
            _or_leave_out(each.open, each, measurements, on_error)
        series = [series for each in measurements for series in each.series()]
        for number, one in enumerate(series):
            on_step("warming up", number + 1, len(series))
            one.warm(max_seconds / 4)
        take_turns(series, max_seconds / 4, lambda done, of: on_step("measuring", done, of))
        for number, each in enumerate(measurements):
            on_step("measuring throughput", number + 1, len(measurements))
            each.measure_throughput()
            each.measure_energy()
    except KeyboardInterrupt:
        interrupted = True
    after = board.state()
    records = []
    for each in measurements:
        record = each.record()
        each.close()
        if record:
            shared = {
                "photo": {
                    "name": photo.name,
                    "width": width,
                    "height": height,
                    "bytes": len(encoded.content),
                },
                "board": described,
            }
            doubts = board.warnings(described, before, after) + _doubts(record)
            records.append(
                {
                    **record,
                    **shared,
                    "before": before,
                    "after": after,
                    "warnings": doubts,
                    **({"interrupted": True} if interrupted else {}),
                }
            )
    return records, interrupted


def _or_leave_out(
    work: Callable[[], None],
    each: Measurement,
    measurements: list[Measurement],
    on_error: Callable[[EdgecatError], None],
) -> None:
    try:
        work()
    except EdgecatError as error:
        measurements.remove(each)
        on_error(error)


def _doubts(record: Mapping[str, Any]) -> list[str]:
    found = []
    if not record["stable"]:
        found.append(
            f"{record['model']}: the runs had not settled when measuring began; give more --max-seconds"
        )
    runs = record["latency"]["num_runs"]
    if runs < MIN_RUNS:
        found.append(
            f"{record['model']}: {runs} runs, fewer than {MIN_RUNS}; give more --max-seconds"
        )
    if record["num_threads"] > cores():
        found.append(f"{record['model']}: {record['num_threads']} threads on {cores()} cores")
    return found


def _inspected(model: Path) -> Any:
    try:
        return inspect(model)
    except EdgecatError:
        return None


def _peak(classifier: Classifier, wanted: Configuration) -> float | None:
    from edgecat.measure.peak import peak_gmacs

    if wanted.device != "cpu" or detect(wanted.model) != "tflite":
        return None
    return peak_gmacs(wanted.engine, wanted.threads, classifier.card.precision == "int8")


# Records


def made_photo(path: Path) -> None:
    """Write a photo of 12 megapixels, as a phone takes them: soft shapes with a sensor's noise, a JPEG of quality 90, always the same."""
    rng = np.random.default_rng(0)
    shapes = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8))
    noise = np.rint(rng.normal(0, 3, (300, 4000, 3))).astype(np.int16)
    photo = Image.new("RGB", (4000, 3000))
    for band in range(10):  # which spares a small board 400 MB
        pixels = (
            np.asarray(
                shapes.resize(
                    (4000, 300), Image.Resampling.BICUBIC, (0, 3 * band, 40, 3 * band + 3)
                )
            )
            + noise
        )
        photo.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), (0, 300 * band))
    photo.save(path, quality=90)


def read_records(path: Path) -> list[Record]:
    """Records of `edgecat bench --json` or --out, one a line. Raises DataError."""
    expected = "the output of: edgecat bench --json"
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: {getattr(error, 'strerror', None) or 'not text'}; expected {expected}"
        ) from None
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            version_, known = (
                record["format_version"],
                isinstance(record["latency"]["median_ms"], (int, float)),
            )
        except (ValueError, TypeError, KeyError):
            raise DataError(
                f"{path}, line {number}: no record of a benchmark; expected {expected}"
            ) from None
        if version_ != FORMAT_VERSION or not known:
            raise DataError(
                f"{path}, line {number}: format version {version_}, expected {FORMAT_VERSION}; measure anew, or use the edgecat that wrote it"
            )
        records.append(record)
    if not records:
        raise DataError(f"{path}: empty; expected {expected}")
    return records


def configuration_of(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """What two records must share to be compared."""
    return tuple(
        record.get(key) for key in ("model", "precision", "device", "num_threads", "batch")
    )


def same_board(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two records were measured on machines that say the same of themselves."""
    return all(
        one.get("board", {}).get(key) == other.get("board", {}).get(key)
        for key in ("board", "processor", "cores", "machine")
    )


def compare(before: Sequence[Record], after: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Records of the same configuration, in the order of the first. Raises DataError where there are none."""
    found = {configuration_of(record): record for record in after}
    pairs = [
        (record, found[configuration_of(record)])
        for record in before
        if configuration_of(record) in found
    ]
    if not pairs:
        raise DataError(
            "no configuration is in both files; expected the same model, precision, device, threads and batch in each"
        )
    return pairs
