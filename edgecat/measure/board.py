"""The machine that a measurement was taken on: what it is, what slowed it down, and what it draws from the wall.

Read from Linux's /proc and /sys and, on a Raspberry Pi, from vcgencmd; elsewhere what Python knows. What a machine does not tell is left out, never guessed.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgecat.engines import cores

# What makes integer or half-precision products fast, by the kernel's names: x86, then Arm.
FEATURES = (
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "amx_int8",
    "amx_bf16",
    "neon",
    "asimd",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
)
THROTTLED = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}  # bits of vcgencmd get_throttled; + 16: since start-up
ROOT = Path("/")


def describe(root: Path = ROOT) -> dict[str, Any]:
    """What stays as it is while something is measured."""
    frequencies = _numbers(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq")
    found = {
        "board": _board(root),
        "processor": _processor(root),
        "features": _features(root),
        "cores": cores(),
        "cores_of_the_machine": os.cpu_count(),
        "governor": ", ".join(
            sorted(
                {
                    _read(path)
                    for path in root.glob(
                        "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"
                    )
                }
            )
        ),
        "max_mhz": round(max(frequencies) / 1000) if frequencies else None,
        "memory_mb": _memory_mb(root),
        "system": platform.platform(terse=True),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("edgecat", "numpy", "pillow")},
    }
    return {key: value for key, value in found.items() if value}


def state(root: Path = ROOT) -> dict[str, Any]:
    """What may change meanwhile: temperature in °C, clock, throttling, the load of a minute."""
    clocks = _numbers(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    degrees = [
        value / 1000
        for value in _numbers(root, "sys/class/thermal/thermal_zone*/temp")
        if 0 < value < 150_000
    ]
    throttled = _throttled()
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **({"load": round(os.getloadavg()[0], 2)} if hasattr(os, "getloadavg") else {}),
        **({"mhz": round(sum(clocks) / len(clocks) / 1000)} if clocks else {}),
        **({"temperature_c": round(max(degrees), 1)} if degrees else {}),
        **({"throttled": throttled} if throttled is not None else {}),
    }


def warnings(
    described: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[str]:
    """What makes figures worth less, each in one line."""
    found = []
    governor = described.get("governor", "performance")
    if governor != "performance":
        found.append(
            f"the CPU governor is '{governor}', expected 'performance' (sudo cpupower frequency-set -g performance)"
        )
    if before.get("load", 0) > 0.5 * described["cores"]:
        found.append(
            f"the machine was busy when this began: a load of {before['load']:.1f} on {described['cores']} cores; stop what else runs"
        )
    throttled = [name for name in after.get("throttled", ()) if not name.endswith("since start-up")]
    if throttled:
        found.append(f"the board is {' and '.join(throttled)}: cool it, or feed it better")
    return found


def memory_mb(root: Path = ROOT) -> dict[str, float]:
    """Of this process, resident: `now`, and `peak` since its program started; empty where the system does not tell."""
    found = dict(
        re.findall(r"^(VmHWM|VmRSS):\s*(\d+) kB", _read(root / "proc/self/status"), re.MULTILINE)
    )
    if (
        len(found) == 2
    ):  # getrusage's peak would be at least that of the process that started this one
        return {"now": int(found["VmRSS"]) * 1024 / 1e6, "peak": int(found["VmHWM"]) * 1024 / 1e6}
    if platform.system() != "Darwin":
        return {}
    import resource

    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


# Power


class Energy:
    """What the machine drew while something ran; `joules` is None where there is no sensor."""

    joules: float | None = None
    watts: float | None = None
    source: str = ""


@contextmanager
def energy(root: Path = ROOT) -> Iterator[Energy]:
    """Measure the energy of what runs inside: by a counter of the processor (RAPL), or by sampling a sensor of the board, ten times a second."""
    used = Energy()
    counters = [
        path
        for path in root.glob("sys/class/powercap/*")
        if _read(path / "name").startswith("package") and _number(path / "energy_uj") is not None
    ]
    began = time.perf_counter()
    if counters:
        before = [_number(path / "energy_uj") or 0.0 for path in counters]
        yield used
        drawn = 0.0
        for path, start in zip(counters, before, strict=True):
            end = _number(path / "energy_uj") or 0.0
            drawn += (
                end
                - start
                + ((_number(path / "max_energy_range_uj") or 0.0) if end < start else 0.0)
            )  # the counter starts anew
        used.joules, used.source = drawn / 1e6, "RAPL"
    elif _watts(root) is not None:
        samples: list[float] = []
        over = threading.Event()

        def sample() -> None:
            while not over.wait(0.1):
                samples.append(_watts(root) or 0.0)

        sampler = threading.Thread(target=sample, daemon=True)
        sampler.start()
        try:
            yield used
        finally:
            over.set()
            sampler.join()
        if samples:
            used.joules, used.source = (
                sum(samples) / len(samples) * (time.perf_counter() - began),
                "board sensor",
            )
    else:
        yield used
        return
    if used.joules is not None:
        used.watts = used.joules / (time.perf_counter() - began)


def _watts(root: Path) -> float | None:
    """Of an INA sensor (hwmon), or of all rails of a Raspberry Pi 5's PMIC."""
    sensors = _numbers(root, "sys/class/hwmon/hwmon*/power1_input")
    if sensors:
        return sum(sensors) / 1e6
    said = _vcgencmd("pmic_read_adc")
    amperes, volts = (
        {
            name: float(value)
            for name, value in re.findall(rf"(\w+)_{kind} \w+\(\d+\)=([\d.]+){kind}", said)
        }
        for kind in ("A", "V")
    )
    return (
        sum(amperes[name] * volts[name] for name in amperes if name in volts) if amperes else None
    )


# Reading


def _board(root: Path) -> str:
    """A device tree's model, else what the BIOS says."""
    tree = _read(root / "proc/device-tree/model").strip("\0 \n")
    return tree or " ".join(
        dict.fromkeys(
            filter(
                None,
                (
                    _read(root / "sys/class/dmi/id" / name)
                    for name in ("sys_vendor", "product_name")
                ),
            )
        )
    )


def _processor(root: Path) -> str:
    names = re.findall(
        r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", _read(root / "proc/cpuinfo"), re.MULTILINE
    )
    return names[0] if names else platform.processor() or platform.machine()


def _features(root: Path) -> list[str]:
    found = re.search(
        r"^(?:flags|Features)\s*:\s*(.+)$", _read(root / "proc/cpuinfo"), re.MULTILINE
    )
    has = set(found[1].split()) if found else set()
    return [name for name in FEATURES if name in has]


def _memory_mb(root: Path) -> int | None:
    found = re.search(r"MemTotal:\s*(\d+) kB", _read(root / "proc/meminfo"))
    return round(int(found[1]) * 1024 / 1e6) if found else None


def _throttled() -> list[str] | None:
    found = re.search(r"throttled=0x([0-9a-fA-F]+)", _vcgencmd("get_throttled"))
    if not found:
        return None
    bits = int(found[1], 16)
    return [
        f"{name}{since}"
        for shift, since in ((0, ""), (16, " since start-up"))
        for bit, name in THROTTLED.items()
        if bits >> (bit + shift) & 1
    ]


def _vcgencmd(question: str) -> str:
    program = shutil.which("vcgencmd")
    if program is None:
        return ""
    try:
        return subprocess.run(
            [program, question], capture_output=True, text=True, timeout=5, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    try:
        return float(_read(path))
    except ValueError:
        return None


def _numbers(root: Path, pattern: str) -> list[float]:
    return [number for path in root.glob(pattern) if (number := _number(path)) is not None]
