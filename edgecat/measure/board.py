"""The machine that a measurement was taken on: what it is, and what slows it down.

The source is Linux's /proc and /sys and, on a Raspberry Pi, vcgencmd. On macOS and Windows it
is Python, and psutil if it is installed. What a machine does not report is left out.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgecat.engines import cores
from edgecat.measure.sysfs import ROOT, read_numbers, read_text, vcgencmd

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
# Bits of vcgencmd get_throttled; the same bits, 16 places higher, are "since start-up".
THROTTLED = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
_CPUFREQ = "sys/devices/system/cpu/cpu[0-9]*/cpufreq"


def describe(root: Path = ROOT) -> dict[str, Any]:
    """Return what stays the same during a measurement."""
    description = {
        "board": _board(root),
        "processor": _processor(root),
        "features": _features(root),
        "cores": cores(),
        "cores_of_the_machine": os.cpu_count(),
        "governor": ", ".join(
            sorted({read_text(path) for path in root.glob(f"{_CPUFREQ}/scaling_governor")})
        ),
        "max_mhz": _max_mhz(root),
        "memory_mb": _memory_mb(root),
        "system": platform.platform(terse=True),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("edgecat", "numpy", "pillow")},
    }
    return {key: value for key, value in description.items() if value}


def state(root: Path = ROOT) -> dict[str, Any]:
    """Return what may change during a measurement.

    These are the clock, the temperature in °C, throttling, and the load of the last minute.
    """
    clocks = read_numbers(root, f"{_CPUFREQ}/scaling_cur_freq")
    temperatures = read_numbers(root, "sys/class/thermal/thermal_zone*/temp")
    degrees = [value / 1000 for value in temperatures if 0 < value < 150_000]
    throttled = _throttled()
    found: dict[str, Any] = {"time": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    if hasattr(os, "getloadavg"):
        found["load"] = round(os.getloadavg()[0], 2)
    if clocks:
        found["mhz"] = round(sum(clocks) / len(clocks) / 1000)
    if degrees:
        found["temperature_c"] = round(max(degrees), 1)
    if throttled is not None:
        found["throttled"] = throttled
    return found


def warnings(
    described: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[str]:
    """Return what makes figures less certain, each in one line."""
    found = []
    governor = described.get("governor", "performance")
    if governor != "performance":
        found.append(
            f"the CPU governor is '{governor}', expected 'performance' "
            "(sudo cpupower frequency-set -g performance)"
        )
    if before.get("load", 0) > 0.5 * described["cores"]:
        found.append(
            f"the machine was busy when this began: a load of {before['load']:.1f} "
            f"on {described['cores']} cores; stop what else runs"
        )
    throttled = [name for name in after.get("throttled", ()) if not name.endswith("since start-up")]
    if throttled:
        found.append(f"the board is {' and '.join(throttled)}: cool it, or feed it better")
    return found


def memory_mb(root: Path = ROOT) -> dict[str, float]:
    """Return the resident memory of this process: `now`, and `peak` since its program started.

    What the system does not report is left out.
    """
    status = read_text(root / "proc/self/status")
    sizes = dict(re.findall(r"^(VmHWM|VmRSS):\s*(\d+) kB", status, re.MULTILINE))
    if len(sizes) == 2:
        return {"now": int(sizes["VmRSS"]) * 1024 / 1e6, "peak": int(sizes["VmHWM"]) * 1024 / 1e6}
    found = {}
    system = platform.system()
    if system != "Linux" and (psutil := _psutil()):
        usage = psutil.Process().memory_info()
        found["now"] = usage.rss / 1e6
        if hasattr(usage, "peak_wset"):  # Windows
            found["peak"] = usage.peak_wset / 1e6
    if system == "Darwin":
        # Not on Linux, where it is at least the peak of the process that started this one.
        import resource

        found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return found


def _psutil() -> Any:
    """Return the library, or None if it is not installed."""
    try:
        import psutil
    except ModuleNotFoundError:
        return None
    return psutil


def _board(root: Path) -> str:
    """Return the model by the device tree, or else by the BIOS."""
    model = read_text(root / "proc/device-tree/model").strip("\0 \n")
    if model:
        return model
    bios = root / "sys/class/dmi/id"
    names = [read_text(bios / "sys_vendor"), read_text(bios / "product_name")]
    return " ".join(dict.fromkeys(name for name in names if name))


def _processor(root: Path) -> str:
    names = re.findall(
        r"^(?:model name|Model|Hardware)\s*:\s*(.+)$",
        read_text(root / "proc/cpuinfo"),
        re.MULTILINE,
    )
    return names[0] if names else platform.processor() or platform.machine()


def _features(root: Path) -> list[str]:
    flags = re.search(
        r"^(?:flags|Features)\s*:\s*(.+)$", read_text(root / "proc/cpuinfo"), re.MULTILINE
    )
    known = set(flags[1].split()) if flags else set()
    return [name for name in FEATURES if name in known]


def _max_mhz(root: Path) -> int | None:
    frequencies = read_numbers(root, f"{_CPUFREQ}/cpuinfo_max_freq")
    if frequencies:
        return round(max(frequencies) / 1000)
    if platform.system() != "Linux" and (psutil := _psutil()):
        with suppress(OSError, NotImplementedError):  # processors that psutil does not know
            frequency = psutil.cpu_freq()
            return round(frequency.max) if frequency else None
    return None


def _memory_mb(root: Path) -> int | None:
    total = re.search(r"MemTotal:\s*(\d+) kB", read_text(root / "proc/meminfo"))
    if total:
        return round(int(total[1]) * 1024 / 1e6)
    if platform.system() != "Linux" and (psutil := _psutil()):
        return round(float(psutil.virtual_memory().total) / 1e6)
    return None


def _throttled() -> list[str] | None:
    throttled = re.search(r"throttled=0x([0-9a-fA-F]+)", vcgencmd("get_throttled"))
    if not throttled:
        return None
    bits = int(throttled[1], 16)
    return [
        f"{name}{since}"
        for shift, since in ((0, ""), (16, " since start-up"))
        for bit, name in THROTTLED.items()
        if bits >> (bit + shift) & 1
    ]
