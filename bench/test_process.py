"""A whole process, as a shell script starts it: time, memory, imports."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from floor import CHELSEA, SMALLEST
from pytest_benchmark.fixture import BenchmarkFixture

from edgecat.models import DEFAULT_MODEL

STARTS = 15
INSTALLED = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}  # as pip leaves it: compiled once, not at every start
Recorded = Callable[..., None]

# A small process in between: the kernel counts the memory of a parent as its child's too.
LAUNCHER = """
import json, os, subprocess, sys, time
began = time.perf_counter()
running = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
said = running.stdout.read().decode()
_, status, usage = os.wait4(running.pid, 0)
print(json.dumps([time.perf_counter() - began, usage.ru_maxrss * 1024 / 1e6, said, status]))
"""


class Started(NamedTuple):
    seconds: float
    peak_mb: float
    said: str


def start(command: Sequence[str | Path]) -> Started:
    done = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, *map(str, command)],
        check=True,
        capture_output=True,
        text=True,
        env=INSTALLED,
    )
    *found, status = json.loads(done.stdout)
    assert status == 0
    return Started(*found)


def test_classify_against_the_smallest_script(
    benchmark: BenchmarkFixture, record: Recorded
) -> None:
    edgecat = shutil.which("edgecat", path=str(Path(sys.executable).parent)) or "edgecat"
    commands: tuple[list[str | Path], ...] = (
        [edgecat, "classify", CHELSEA],
        [sys.executable, SMALLEST, DEFAULT_MODEL, "cat,dog,neither", CHELSEA],
    )
    ours: list[Started] = []
    smallest: list[Started] = []
    for _ in range(1 if benchmark.disabled else STARTS):
        for command, starts in zip(commands, (ours, smallest), strict=True):
            starts.append(start(command))
    assert all(" cat " in started.said for started in (*ours, *smallest))
    benchmark.pedantic(start, (commands[0],), rounds=1)  # type: ignore[no-untyped-call]
    if not benchmark.disabled:
        seconds = statistics.median(started.seconds for started in ours) / statistics.median(
            started.seconds for started in smallest
        )
        memory = statistics.median(started.peak_mb for started in ours) / statistics.median(
            started.peak_mb for started in smallest
        )
        print(
            f"\nedgecat classify / smallest script, peak memory: {memory:.3f} "
            "(budget: at most 1.25)"
        )
        record("edgecat classify / smallest script, time", seconds, 1.35, memory_ratio=memory)
        assert memory <= 1.25


def test_import_edgecat_beyond_numpy_and_pillow(
    benchmark: BenchmarkFixture, record: Recorded
) -> None:
    """By Python's own clock of imports, of which the least of several starts counts."""

    def import_ms() -> float:
        code = "import numpy, PIL.Image, PIL.ExifTags, edgecat"
        said = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env=INSTALLED,
        ).stderr
        found = re.search(r"\|\s*(\d+) \| edgecat$", said, re.MULTILINE)
        assert found
        return int(found[1]) / 1000

    took = min(import_ms() for _ in range(1 if benchmark.disabled else STARTS))
    benchmark.pedantic(import_ms, rounds=1)  # type: ignore[no-untyped-call]
    if not benchmark.disabled:
        record("import edgecat beyond numpy and Pillow, ms", took, 10)
