"""Measure several configurations by turns and return a record of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from edgecat.engines import cores
from edgecat.errors import EdgecatError
from edgecat.measure import board
from edgecat.measure.latency.measurement import Configuration, Measurement
from edgecat.measure.latency.record import Record, build_record
from edgecat.measure.latency.series import MIN_RUNS, take_turns
from edgecat.photo import decode, read_encoded

COLD_STARTS = 5

Progress: TypeAlias = "Callable[[str, int, int], None]"  # phase, done, of
OnError: TypeAlias = "Callable[[EdgecatError], None]"


def measure(
    configurations: Sequence[Configuration],
    photo: Path,
    max_seconds: float,
    on_step: Progress,
    on_error: OnError,
) -> tuple[list[Record], bool]:
    """Return a record of each configuration, in their order, and whether Ctrl-C ended it early.

    After Ctrl-C the records hold what was measured before. A configuration that cannot run is
    left out, and its error goes to `on_error`. `max_seconds` is the limit for each
    configuration, without cold starts. Raise PhotoError if the photo cannot be read.
    """
    described, before = board.describe(), board.state()
    photo_record = _describe_photo(photo)
    measurements = [Measurement(configuration, photo) for configuration in configurations]
    interrupted = False
    try:
        _measure_all(measurements, max_seconds, on_step, on_error)
    except KeyboardInterrupt:
        interrupted = True
    after = board.state()
    warnings = board.warnings(described, before, after)
    records = []
    for measurement in measurements:
        if measurement.invoke.times:
            record = build_record(measurement)
            record |= {
                "photo": photo_record,
                "board": described,
                "before": before,
                "after": after,
                "warnings": warnings + _warnings(record),
            }
            if interrupted:
                record["interrupted"] = True
            records.append(record)
        measurement.close()
    return records, interrupted


def _describe_photo(photo: Path) -> Record:
    content = read_encoded(photo).content
    width, height = decode(photo).size
    return {"name": photo.name, "width": width, "height": height, "bytes": len(content)}


def _measure_all(
    measurements: list[Measurement], max_seconds: float, on_step: Progress, on_error: OnError
) -> None:
    """Measure, and remove the measurements that fail from the list."""

    def attempt(work: Callable[[], None], measurement: Measurement) -> None:
        try:
            work()
        except EdgecatError as error:
            measurement.close()
            measurements.remove(measurement)
            on_error(error)

    for start in range(COLD_STARTS):
        count = len(measurements)
        for number, measurement in enumerate(list(measurements), 1):
            on_step("starting cold", start * count + number, COLD_STARTS * count)
            attempt(measurement.start_cold, measurement)
    for measurement in list(measurements):
        attempt(measurement.open, measurement)
    series = [each for measurement in measurements for each in measurement.series()]
    for number, each in enumerate(series, 1):
        on_step("warming up", number, len(series))
        each.warm(max_seconds / 4)
    take_turns(series, max_seconds / 4, lambda done, of: on_step("measuring", done, of))
    for number, measurement in enumerate(measurements, 1):
        on_step("measuring throughput", number, len(measurements))
        measurement.measure_throughput()
        measurement.measure_energy()


def _warnings(record: Mapping[str, Any]) -> list[str]:
    """Return what makes the figures of a record less certain, each in one line."""
    model, runs, threads = record["model"], record["latency"]["num_runs"], record["num_threads"]
    warnings = []
    if not record["stable"]:
        warnings.append(
            f"{model}: the runs had not settled when measuring began; give more --max-seconds"
        )
    if runs < MIN_RUNS:
        warnings.append(f"{model}: {runs} runs, fewer than {MIN_RUNS}; give more --max-seconds")
    if threads > cores():
        warnings.append(f"{model}: {threads} threads on {cores()} cores")
    return warnings
