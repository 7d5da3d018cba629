"""Series of timed runs: warm up, take turns, summarise."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

MIN_RUNS, MIN_SECONDS = 50, 1.0  # of a series, unless its time is over before
SLICE_MS = 20.0  # length of a turn
STABLE = 0.02  # a series is warm if the medians of two windows differ by less
WINDOW = 10  # runs


@dataclass
class Series:
    """Repeated work and its durations. `work` returns the milliseconds of each of its parts."""

    work: Callable[[], Sequence[float]]
    times: list[Sequence[float]] = field(default_factory=list)
    warm_up: list[float] = field(default_factory=list)  # milliseconds
    spent: float = 0.0  # seconds of the measured runs
    processor: float = 0.0  # CPU seconds of all threads during the slices
    wall: float = 0.0  # seconds of the slices by the clock
    stable: bool = False

    def warm(self, seconds: float) -> None:
        """Run until the medians of the last two windows agree, or for `seconds`."""
        until = time.perf_counter() + seconds
        while not self.stable and (time.perf_counter() < until or len(self.warm_up) < 2):
            self.warm_up.append(sum(self.work()))
            last, before = self.warm_up[-WINDOW:], self.warm_up[-2 * WINDOW : -WINDOW]
            if len(before) == WINDOW:
                change = statistics.median(last) / statistics.median(before) - 1
                self.stable = abs(change) < STABLE

    def slice(self) -> None:
        """Run for one turn. The first run is not counted: it refills the caches."""
        self.work()
        processor, wall, slice_ms = time.process_time(), time.perf_counter(), 0.0
        while slice_ms < SLICE_MS:
            parts = self.work()
            self.times.append(parts)
            slice_ms += sum(parts)
        self.spent += slice_ms / 1000
        self.processor += time.process_time() - processor
        self.wall += time.perf_counter() - wall

    def done(self, seconds: float) -> bool:
        """Return whether there are enough runs, or `seconds` are spent."""
        return self.spent >= seconds or (len(self.times) >= MIN_RUNS and self.spent >= MIN_SECONDS)

    def progress(self, seconds: float) -> float:
        """Return the share of the way to `done`; 1 or more at the end."""
        of_runs = min(len(self.times) / MIN_RUNS, self.spent / MIN_SECONDS)
        return max(self.spent / seconds, of_runs)


def take_turns(
    series: Sequence[Series],
    seconds: float,
    on_step: Callable[[int, int], None] = lambda done, of: None,
) -> None:
    """Measure all series, slice by slice, each until it is done. `on_step` gets percents."""
    while waiting := [each for each in series if not each.done(seconds)]:
        for each in waiting:
            each.slice()
        share = min(each.progress(seconds) for each in series)
        on_step(min(100, round(100 * share)), 100)


def summarise(times: Iterable[float]) -> dict[str, float]:
    """Return the statistics of milliseconds, under the names of litert-benchmark and more.

    Outliers lie more than three interquartile ranges beyond the quartiles: Tukey's "far out".
    """
    values = np.asarray(list(times))
    low, high = np.percentile(values, (25, 75))
    reach = 3 * (high - low)
    outliers = (values < low - reach) | (values > high + reach)
    summary = {
        "avg_ms": values.mean(),
        "min_ms": values.min(),
        "max_ms": values.max(),
        "median_ms": np.median(values),
        "std_ms": values.std(ddof=1) if len(values) > 1 else 0.0,
    }
    for percent in (5, 90, 95, 99):
        summary[f"p{percent}_ms"] = np.percentile(values, percent)
    return {
        **{name: round(float(value), 4) for name, value in summary.items()},
        "num_runs": len(values),
        "outliers": int(outliers.sum()),
    }
