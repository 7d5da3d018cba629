"""Read the small files of Linux's /proc and /sys, and ask a Raspberry Pi's vcgencmd."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path("/")


def read_text(path: Path) -> str:
    """Return the content without outer white space; empty if it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def read_number(path: Path) -> float | None:
    """Return the number in a file; None if there is none."""
    try:
        return float(read_text(path))
    except ValueError:
        return None


def read_numbers(root: Path, pattern: str) -> list[float]:
    """Return the numbers in the files below `root` that match a glob pattern."""
    numbers = map(read_number, root.glob(pattern))
    return [number for number in numbers if number is not None]


def vcgencmd(question: str) -> str:
    """Return the answer of a Raspberry Pi's firmware; empty on other machines."""
    program = shutil.which("vcgencmd")
    if program is None:
        return ""
    try:
        return subprocess.run(
            [program, question], capture_output=True, text=True, timeout=5, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
