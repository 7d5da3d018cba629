"""The energy that the machine draws, by the processor's counter or a sensor of the board."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgecat.measure.sysfs import ROOT, read_number, read_numbers, read_text, vcgencmd

SAMPLE_SECONDS = 0.1  # between two samples of a sensor


class Energy:
    """What was drawn while something ran; `joules` is None if there is no sensor."""

    joules: float | None = None
    watts: float | None = None
    source: str = ""


@contextmanager
def measure_energy(root: Path = ROOT) -> Iterator[Energy]:
    """Measure the energy of the body; the yielded record is complete after it.

    The source is a counter of the processor (RAPL), or a sensor of the board that is sampled.
    """
    energy = Energy()
    counters = [
        path
        for path in root.glob("sys/class/powercap/*")
        if read_text(path / "name").startswith("package")
        and read_number(path / "energy_uj") is not None
    ]
    began = time.perf_counter()
    if counters:
        before = _microjoules(counters)
        yield energy
        drawn = zip(counters, before, _microjoules(counters), strict=True)
        energy.joules = sum(_increase(*counter) for counter in drawn) / 1e6
        energy.source = "RAPL"
    elif _watts(root) is not None:
        with _sampling(root) as samples:
            yield energy
        if samples:
            seconds = time.perf_counter() - began
            energy.joules = sum(samples) / len(samples) * seconds
            energy.source = "board sensor"
    else:
        yield energy
    if energy.joules is not None:
        energy.watts = energy.joules / (time.perf_counter() - began)


def _microjoules(counters: Sequence[Path]) -> list[float]:
    return [read_number(path / "energy_uj") or 0.0 for path in counters]


def _increase(counter: Path, start: float, end: float) -> float:
    """Return the microjoules between two readings of a counter that restarts at its maximum."""
    restarted = end < start
    return end - start + ((read_number(counter / "max_energy_range_uj") or 0.0) * restarted)


@contextmanager
def _sampling(root: Path) -> Iterator[list[float]]:
    """Sample the watts of a sensor in a thread until the body ends."""
    samples: list[float] = []
    over = threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLE_SECONDS):
            samples.append(_watts(root) or 0.0)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield samples
    finally:
        over.set()
        sampler.join()


def _watts(root: Path) -> float | None:
    """Return the power by an INA sensor (hwmon), or by all rails of a Raspberry Pi 5's PMIC."""
    sensors = read_numbers(root, "sys/class/hwmon/hwmon*/power1_input")
    if sensors:
        return sum(sensors) / 1e6
    rails = vcgencmd("pmic_read_adc")
    amperes, volts = _rail_values(rails, "A"), _rail_values(rails, "V")
    if not amperes:
        return None
    return sum(amperes[name] * volts[name] for name in amperes if name in volts)


def _rail_values(rails: str, unit: str) -> dict[str, float]:
    values = re.findall(rf"(\w+)_{unit} \w+\(\d+\)=([\d.]+){unit}", rails)
    return {name: float(value) for name, value in values}
