"""What all commands print: tables, and on stderr errors, progress and the libraries' notes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING

from edgecat.errors import EdgecatError
from edgecat.printed import printed_by_libraries

if TYPE_CHECKING:
    from edgecat.card import Channels, InputRecipe


def complain(text: object) -> None:
    """One line of what went wrong."""
    print(f"edgecat: {text}", file=sys.stderr, flush=True)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Drop the notes that engines and TensorFlow print from C++ while they start.

    Other lines from C++ are printed at the end, Python's at once.
    """
    lines: list[str] = []
    try:
        with printed_by_libraries() as lines:
            yield
    finally:
        for line in lines:
            if not line.startswith(
                (
                    "INFO:",
                    "I0000",
                    "WARNING: All log messages before absl",
                    "To enable the following instructions",
                )
            ):
                print(line, file=sys.stderr)


@contextmanager
def needs_export_extra(doing: str) -> Iterator[None]:
    """Where the host side's libraries are missing, say how to install them."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        raise EdgecatError(
            f"{doing} needs '{library}'; install it with: pip install 'edgecat[export]'"
        ) from None


class ProgressLine:
    """`step` shows how far a phase is and how long it will take; `say` prints a line above it.

    A line that renews itself on a terminal; elsewhere one line a minute.
    """

    def __init__(self) -> None:
        self.live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.drawn = False
        self.phase = ""
        self.began = self.shown = 0.0

    def say(self, text: str) -> None:
        self.end()
        print(text, file=sys.stderr, flush=True)

    def step(self, phase: str, done: int, total: int) -> None:
        now = time.monotonic()
        if phase != self.phase:
            self.phase, self.began, self.shown = phase, now, now
        if now - self.shown < (0.2 if self.live else 60):
            return
        self.shown = now
        seconds = round((now - self.began) / done * (total - done))
        bar = f"{'█' * (20 * done // total):░<20}"
        text = f"{phase}  {bar}  {done}/{total}  {seconds // 60}:{seconds % 60:02} left"
        print(
            f"\r\x1b[K{text}" if self.live else text,
            end="" if self.live else "\n",
            file=sys.stderr,
            flush=True,
        )
        self.drawn = self.live

    def end(self, when: bool = True) -> None:
        """Take the line away, so that something else can be printed."""
        if self.drawn and when:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self.drawn = False


def table(rows: Sequence[Sequence[str]], align: str = "<>") -> Iterator[str]:
    """Yield a line for each row, with columns of equal width. Rows may end early.

    `align` has < (left) or > (right) for each column; its last one is for all that follow.
    """
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    for row in rows:
        cells = []
        for place, cell in enumerate(row):
            side = align[min(place, len(align) - 1)]
            cells.append(f"{cell:{side}{widths[place]}}")
        yield "  ".join(cells).rstrip()


def rule_of(recipe: InputRecipe) -> str:
    """How photos are resized, in words."""
    return (
        recipe.resize
        if recipe.crop == 1
        else f"{recipe.resize}, {recipe.crop:g} of the shorter side"
    )


def numbers_of(values: Channels) -> str:
    return (
        ", ".join(f"{value:g}" for value in values) if isinstance(values, tuple) else f"{values:g}"
    )
