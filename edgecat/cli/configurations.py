"""The configurations that the options of `edgecat bench` ask for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgecat.engines import DEVICES, choose_engine, cores
from edgecat.foreign.description import Description
from edgecat.formats import detect

if TYPE_CHECKING:
    from edgecat.measure.latency.measurement import Configuration

MAX_THREADS, MAX_BATCH = 256, 1024
DEFAULT_THREADS = 4  # at most, unless --as names a board


def parse_variants(
    device: str, threads: str | None, batch: str, as_board: str | None
) -> list[tuple[int, int]]:
    """Return each pair of threads and batch size. Raise BadParameter.

    With --as, this process uses no more cores than the board has from now on.
    """
    from edgecat.measure.latency.published import BOARDS

    most = DEFAULT_THREADS
    if as_board is not None:
        _check_name(as_board, "--as", tuple(BOARDS))
        most = BOARDS[as_board].cores
    _check_name(device, "--device", tuple(DEVICES))
    if as_board is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:most])
    default = f"1,{min(cores(), most)}" if device == "cpu" else "1"
    counts = _whole_numbers(threads or default, "--threads", MAX_THREADS)
    sizes = _whole_numbers(batch, "--batch", MAX_BATCH)
    return [(count, size) for count in counts for size in sizes]


def find_configurations(
    models: Sequence[Path],
    engine: str | None,
    device: str,
    variants: Sequence[tuple[int, int]],
    description: Description | None,
) -> list[Configuration]:
    """Return every variant of every model, each with the engine that runs it.

    Raise ModelError or EngineError if a model or its engine is missing.
    """
    from edgecat.measure.latency.measurement import Configuration

    configurations = []
    for path in models:
        chosen = choose_engine(detect(path), engine, device)
        for threads, batch in variants:
            configurations.append(Configuration(path, chosen, device, threads, batch, description))
    return configurations


def _check_name(name: str, option: str, known: Sequence[str]) -> None:
    if name not in known:
        raise typer.BadParameter(f"'{name}', expected one of {', '.join(known)}", param_hint=option)


def _whole_numbers(text: str, option: str, most: int) -> list[int]:
    """Return the numbers of "1,2,4", each once, in their order. Raise BadParameter."""
    try:
        numbers = list(dict.fromkeys(map(int, text.split(","))))
    except ValueError:
        numbers = [0]
    if not all(1 <= number <= most for number in numbers):
        raise typer.BadParameter(
            f"'{text}', expected whole numbers from 1 to {most}, with commas between",
            param_hint=option,
        )
    return numbers
