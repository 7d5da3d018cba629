"""The board's description, from trees of files like those of a Raspberry Pi and of a server."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from real import peak_of

from edgecat.measure import board
from edgecat.measure.energy import measure_energy

CPUINFO_PI = (
    "processor\t: 0\nFeatures\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp asimddp\n"
    "\nModel\t\t: Raspberry Pi 5\n"
)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.fixture
def pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Raspberry Pi 5 that is hot, throttled, and told to save power."""
    program = tmp_path / "bin" / "vcgencmd"
    write(
        tmp_path / "bin",
        {
            "vcgencmd": '#!/bin/sh\ncase "$1" in\n'
            'get_throttled) echo "throttled=0x50005" ;;\n'
            'pmic_read_adc) echo " 3V3_SYS_A current(0)=0.5A"; echo " 3V3_SYS_V volt(8)=3.0V"; '
            'echo " EXT5V_V volt(24)=5.1V" ;;\nesac\n'
        },
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    cpu = "sys/devices/system/cpu/cpu"
    return write(
        tmp_path / "pi",
        {
            "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
            "proc/cpuinfo": CPUINFO_PI,
            "proc/meminfo": "MemTotal:        8245828 kB\n",
            **{f"{cpu}{n}/cpufreq/scaling_governor": "ondemand\n" for n in range(4)},
            **{f"{cpu}{n}/cpufreq/cpuinfo_max_freq": "2400000\n" for n in range(4)},
            **{f"{cpu}{n}/cpufreq/scaling_cur_freq": f"{1500000 + 100000 * n}\n" for n in range(4)},
            "sys/class/thermal/thermal_zone0/temp": "81250\n",
        },
    )


def test_a_raspberry_pi(pi: Path) -> None:
    described = board.describe(pi)
    assert (described["board"], described["processor"]) == (
        "Raspberry Pi 5 Model B Rev 1.0",
        "Raspberry Pi 5",
    )
    assert described["features"] == ["asimd", "asimdhp", "asimddp"]
    assert (described["governor"], described["max_mhz"], described["memory_mb"]) == (
        "ondemand",
        2400,
        8444,
    )
    state = board.state(pi)
    assert (state["mhz"], state["temperature_c"]) == (1650, 81.2)
    assert state["throttled"] == [
        "under-voltage",
        "throttled",
        "under-voltage since start-up",
        "throttled since start-up",
    ]
    governor, throttled = board.warnings(described, {"load": 0.1}, state)
    assert governor == (
        "the CPU governor is 'ondemand', expected 'performance' "
        "(sudo cpupower frequency-set -g performance)"
    )
    assert throttled == "the board is under-voltage and throttled: cool it, or feed it better"


def test_a_server_that_tells_less(tmp_path: Path) -> None:
    flags = "flags\t\t: fpu sse2 fma avx2 avx512f avx512_vnni amx_int8\n"
    dmi = {
        "sys/class/dmi/id/sys_vendor": "Dell Inc.\n",
        "sys/class/dmi/id/product_name": "PowerEdge\n",
    }
    described = board.describe(
        write(tmp_path, {"proc/cpuinfo": f"model name\t: AMD EPYC 9654\n{flags}", **dmi})
    )
    assert (described["board"], described["processor"]) == ("Dell Inc. PowerEdge", "AMD EPYC 9654")
    assert described["features"] == ["avx2", "fma", "avx512f", "avx512_vnni", "amx_int8"]
    assert not {"governor", "max_mhz", "memory_mb"} & {*described}
    assert not {"mhz", "temperature_c"} & {*board.state(tmp_path)}
    assert board.warnings(described, {"load": 0.0}, {}) == []
    (busy,) = board.warnings(described, {"load": 100.0}, {})
    assert busy.startswith("the machine was busy when this began: a load of 100.0 on ")


def test_this_machine() -> None:
    described, state = board.describe(), board.state()
    assert described["cores"] <= described["cores_of_the_machine"]
    assert described["processor"]
    assert state["time"]


def test_memory_is_of_this_program_and_not_of_the_one_that_started_it(tmp_path: Path) -> None:
    status = "Name:\tpython\nVmHWM:\t   50000 kB\nVmRSS:\t   40000 kB\n"
    assert board.memory_mb(write(tmp_path, {"proc/self/status": status})) == {
        "now": 40.96,
        "peak": 51.2,
    }


@pytest.mark.skipif("peak" not in board.memory_mb(), reason="needs psutil on this system")
def test_the_peak_of_a_process_has_what_it_allocated_and_freed() -> None:
    more = peak_of("content = b'x' * 64_000_000\ndel content") - peak_of("")
    assert more == pytest.approx(64, abs=8)


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="compares with Linux's figures")
def test_psutil_tells_what_linux_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS and Windows, which have no /proc, psutil stands in for it."""
    pytest.importorskip("psutil", reason="needs edgecat[bench]")
    on_linux, now = board.describe()["memory_mb"], board.memory_mb()["now"]
    monkeypatch.setattr("platform.system", lambda: "Windows")
    assert board.describe(tmp_path)["memory_mb"] == on_linux
    assert board.memory_mb(tmp_path)["now"] == pytest.approx(now, rel=0.1)


def test_without_psutil_what_is_unknown_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.setattr("platform.system", lambda: "Windows")
    assert not {"max_mhz", "memory_mb"} & {*board.describe(tmp_path)}
    assert board.memory_mb(tmp_path) == {}


def test_energy_by_the_processors_counter_which_starts_anew(tmp_path: Path) -> None:
    zones = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:1": "psys"}
    files = {
        f"sys/class/powercap/{zone}/{key}": value
        for zone, name in zones.items()
        for key, value in (("name", name), ("energy_uj", "900000"))
    }
    root = write(
        tmp_path, {**files, "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "1000000"}
    )
    with measure_energy(root) as used:
        time.sleep(0.05)
        write(
            root,
            {
                "sys/class/powercap/intel-rapl:0/energy_uj": "400000",
                "sys/class/powercap/intel-rapl:0:0/energy_uj": "950000",
            },
        )
    assert used.joules == pytest.approx(0.5)
    assert used.watts is not None
    assert used.watts <= 0.5 / 0.05
    assert used.source == "RAPL"


def test_energy_by_sensors(pi: Path, tmp_path: Path) -> None:
    for root, watts in (
        (pi, 1.5),
        (write(tmp_path / "ina", {"sys/class/hwmon/hwmon0/power1_input": "2500000\n"}), 2.5),
    ):
        with measure_energy(root) as used:
            time.sleep(0.35)
        assert used.watts == pytest.approx(watts, rel=0.01)
        assert used.joules == pytest.approx(watts * 0.35, rel=0.5)


def test_no_sensor_is_no_energy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with measure_energy(tmp_path) as used:
        pass
    assert (used.joules, used.watts) == (None, None)
