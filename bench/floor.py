"""The baseline: the least code that gives the same answer, with nothing but the libraries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgecat.formats import read_card
from edgecat.models import DEFAULT_MODEL

CHELSEA = Path(__file__).parent.parent / "tests" / "photos" / "chelsea.jpg"
SMALLEST = Path(__file__).parent / "smallest.py"
TEST_SET = Path(__file__).parent.parent.parent / "shared" / "data" / "test_set"
Loop = Callable[[Path], np.ndarray]
Run = Callable[[np.ndarray], np.ndarray]


def open_bare_engine(model: Path = DEFAULT_MODEL, threads: int = 1) -> tuple[Run, tuple[int, int]]:
    """LiteRT's interpreter as its documentation uses it, and the (width, height) that it reads."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model), num_threads=threads)
    interpreter.allocate_tensors()
    _, height, width, _ = map(int, interpreter.get_input_details()[0]["shape"])
    return bare_run(interpreter), (width, height)


def bare_run(interpreter: Any) -> Run:
    """What an open interpreter of LiteRT is for."""
    read, said = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(tensor: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(read["index"], tensor)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(said["index"])[0])

    return run


def open_bare_session(model: Path) -> Any:
    """ONNX Runtime on one thread: (1, height, width, 3) float32 -> (classes,)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda tensor: session.run(None, {name: tensor})[0][0]


def bare_decode(path: Path, least: tuple[int, int]) -> Image.Image:
    """Pillow's scaled decoding, to so many pixels at least."""
    image = Image.open(path)
    image.draft("RGB", (max(least), max(least)))
    return image.convert("RGB")


def bare_resize(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0))


def open_bare_loop() -> Loop:
    """Decode, resize, LiteRT on one core."""
    run, size = open_bare_engine()
    least = read_card(DEFAULT_MODEL).input.least
    return lambda path: run(bare_resize(bare_decode(path, least), size)[np.newaxis])
