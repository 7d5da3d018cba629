"""The real things that the tests use."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHELSEA = ROOT / "tests" / "photos" / "chelsea.jpg"
COFFEE = ROOT / "tests" / "photos" / "coffee.jpg"
SHARED = ROOT.parent / "shared"

Run = Callable[..., "subprocess.CompletedProcess[str]"]
