"""Latencies that others have published for boards, shown beside what is measured and never mixed with it."""

from __future__ import annotations

import math
from typing import NamedTuple

XNNPACK = "XNNPACK's README, all cores, February 2022: https://github.com/google/XNNPACK"
NCNN = (
    "ncnn's benchncnn, 4 threads: https://github.com/Tencent/ncnn/blob/master/benchmark/README.md"
)
HOSTED = "TensorFlow Lite hosted models, Pixel 3, 4 threads: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/g3doc/guide/hosted_models.md"
LITE = "EfficientNet-Lite's README, Pixel 4, 4 threads: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite"


class Board(NamedTuple):
    """What a preset stands for."""

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
    """One figure, as its source gives it."""

    board: str  # of BOARDS
    model: str
    architecture: str
    int8: bool
    million_macs: float  # a photo, by the networks' papers
    latency_ms: float
    source: str


def _figures(board: str, source: str, rows: str) -> list[Published]:
    found = []
    for row in rows.strip().splitlines():
        architecture, variant, macs, float_ms, int8_ms = row.split()
        for int8, latency in ((False, float_ms), (True, int8_ms)):
            if latency != "-":
                name = (
                    f"{architecture} {variant.replace('_', ', ')} px, {'int8' if int8 else 'fp32'}"
                )
                found.append(
                    Published(board, name, architecture, int8, float(macs), float(latency), source)
                )
    return found


# architecture, width_size, million multiply-accumulates, milliseconds in floats, in int8
FIGURES = (
    *_figures(
        "pi-zero2w",
        NCNN,
        "mobilenet 1.0_224 569 163 91\nmobilenet_v2 1.0_224 300 147 -\nresnet50 1.0_224 3860 783 498",
    ),
    *_figures("pi4", XNNPACK, "mobilenet 1.0_224 569 77 24\nmobilenet_v2 1.0_224 300 46 17"),
    *_figures("pi4", NCNN, "resnet50 1.0_224 3860 263 197"),
    *_figures(
        "pi5",
        NCNN,
        "mobilenet 1.0_224 569 9.0 8.7\nmobilenet_v2 1.0_224 300 10.5 -\nresnet50 1.0_224 3860 46 41",
    ),
    *_figures(
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
    *_figures("pixel4", LITE, "efficientnet_lite0 1.0_224 407 12 6.5"),
)


def nearest(board: str, architecture: str, int8: bool, macs: int) -> Published | None:
    """The figure of this board and architecture that is nearest in precision, then in work; None where there is none."""
    fitting = [
        figure for figure in FIGURES if (figure.board, figure.architecture) == (board, architecture)
    ]
    return min(
        fitting,
        key=lambda figure: (figure.int8 != int8, abs(math.log(figure.million_macs * 1e6 / macs))),
        default=None,
    )
