"""What the benchmarks are held against."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from edgecat.classifier import DEFAULT_MODEL

CHELSEA = Path(__file__).parent.parent / "tests" / "photos" / "chelsea.jpg"
Loop = Callable[[Path], np.ndarray]


def open_bare_loop() -> Loop:
    """The least that gives the same scores: Pillow's draft decode, a resize, LiteRT on one core."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(DEFAULT_MODEL), num_threads=1)
    interpreter.allocate_tensors()
    read, said = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    size = (int(read["shape"][2]), int(read["shape"][1]))

    def classify(path: Path) -> np.ndarray:
        image = Image.open(path)
        image.draft("RGB", size)
        pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))
        interpreter.set_tensor(read["index"], pixels[np.newaxis])
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(said["index"])[0])

    return classify
