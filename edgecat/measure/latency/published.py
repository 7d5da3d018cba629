"""Latencies that others published for boards, shown beside what is measured."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from edgecat.engines import cores

XNNPACK = "XNNPACK's README, all cores, February 2022: https://github.com/google/XNNPACK"
NCNN = (
    "ncnn's benchncnn, 4 threads: https://github.com/Tencent/ncnn/blob/master/benchmark/README.md"
)
HOSTED = (
    "TensorFlow Lite hosted models, Pixel 3, 4 threads: https://github.com/tensorflow/tensorflow"
    "/blob/master/tensorflow/lite/g3doc/guide/hosted_models.md"
)
LITE = (
    "EfficientNet-Lite's README, Pixel 4, 4 threads: https://github.com/tensorflow/tpu"
    "/tree/master/models/official/efficientnet/lite"
)


class Board(NamedTuple):
    """What a name of --as stands for."""

    name: str
    cores: int


BOARDS = {
    "pi-zero2w": Board("Raspberry Pi Zero 2 W", 4),
    "pi4": Board("Raspberry Pi 4", 4),
    "pi5": Board("Raspberry Pi 5", 4),
    "phone": Board("phone (Pixel 3)", 4),
    "pixel4": Board("phone (Pixel 4)", 4),
}


class Published(NamedTuple):
    """One figure of a source."""

    board: str  # a key of BOARDS
    model: str
    architecture: str
    int8: bool
    million_macs: float  # for one photo, by the papers of the networks
    latency_ms: float
    source: str


# Architecture, width_size, million multiply-accumulates, ms in fp32, ms in int8; - is unknown.
_TABLES = (
    (
        "pi-zero2w",
        NCNN,
        """
        mobilenet 1.0_224 569 163 91
        mobilenet_v2 1.0_224 300 147 -
        resnet50 1.0_224 3860 783 498
        """,
    ),
    (
        "pi4",
        XNNPACK,
        """
        mobilenet 1.0_224 569 77 24
        mobilenet_v2 1.0_224 300 46 17
        """,
    ),
    ("pi4", NCNN, "resnet50 1.0_224 3860 263 197"),
    (
        "pi5",
        NCNN,
        """
        mobilenet 1.0_224 569 9.0 8.7
        mobilenet_v2 1.0_224 300 10.5 -
        resnet50 1.0_224 3860 46 41
        """,
    ),
    (
        "phone",
        HOSTED,
        """
        mobilenet 1.0_224 569 24.0 13
        mobilenet 0.75_224 325 14.6 8.5
        mobilenet 0.5_224 149 7.9 4.7
        mobilenet 0.25_224 41 3.3 2.3
        mobilenet 1.0_192 418 18.1 9.9
        mobilenet 1.0_160 291 13.4 7.3
        mobilenet 1.0_128 186 9.0 4.8
        mobilenet 0.25_128 14 1.2 0.8
        mobilenet_v2 1.0_224 300 17.5 12
        """,
    ),
    ("pixel4", LITE, "efficientnet_lite0 1.0_224 407 12 6.5"),
)


def _figures(board: str, source: str, table: str) -> list[Published]:
    figures = []
    for row in table.strip().splitlines():
        architecture, variant, macs, fp32_ms, int8_ms = row.split()
        for precision, latency in (("fp32", fp32_ms), ("int8", int8_ms)):
            if latency != "-":
                model = f"{architecture} {variant.replace('_', ', ')} px, {precision}"
                int8, numbers = precision == "int8", (float(macs), float(latency))
                figures.append(Published(board, model, architecture, int8, *numbers, source))
    return figures


FIGURES = tuple(figure for table in _TABLES for figure in _figures(*table))


def nearest(board: str, architecture: str, int8: bool, macs: int) -> Published | None:
    """Return the figure of a board and architecture that is nearest in precision, then in work.

    Return None if there is none.
    """

    def distance(figure: Published) -> tuple[bool, float]:
        return figure.int8 != int8, abs(math.log(figure.million_macs * 1e6 / macs))

    fitting = [
        figure for figure in FIGURES if (figure.board, figure.architecture) == (board, architecture)
    ]
    return min(fitting, key=distance, default=None)


def add_published(record: dict[str, Any], board: str) -> None:
    """Add the figure for `board` that is nearest to a record of the latency on this machine.

    Add a warning if this machine has fewer cores than the board.
    """
    name, board_cores = BOARDS[board]
    if record["device"] != "cloud" and cores() < board_cores:
        record["warnings"].append(
            f"{name} has {board_cores} cores, and this machine gives {cores()}"
        )
    if record.get("macs"):
        int8 = record["precision"] == "int8"
        figure = nearest(board, record["architecture"], int8, record["macs"])
        record["published"] = {"as": board, "nearest": figure._asdict() if figure else None}
