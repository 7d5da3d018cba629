"""The real things that the tests use."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHELSEA = ROOT / "tests" / "photos" / "chelsea.jpg"
COFFEE = ROOT / "tests" / "photos" / "coffee.jpg"
SHARED = ROOT.parent / "shared"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@contextmanager
def killed_after(seconds: float, process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill it at the end, or sooner if what a test waits for does not come."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        process.kill()


def peak_of(code: str) -> float:
    """Return the peak memory of a process that runs `code`, in megabytes."""
    lines = ["from edgecat.measure.board import memory_mb", code, "print(memory_mb()['peak'])"]
    command = [sys.executable, "-c", "\n".join(lines)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


# The start of a program: edgecat.watch.folder prints a line after its first listing. Photos that
# come after that line are new.
SAYS_WHEN_IT_WATCHES = """
import sys, edgecat.watch.folder as watching
look = watching.list_photos
def first_look(*given):
    found = look(*given)
    print("watching", flush=True)
    watching.list_photos = look
    return found
watching.list_photos = first_look"""
