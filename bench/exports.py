"""Print the README's table of exports: every checkpoint in every precision and format.

    python bench/exports.py data/test_set

It exports without photos, as a user does first. Then it compares with Keras on all photos of
class folders, which the checkpoints have never seen.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from edgecat_export.checkpoint import SHIPPED
from edgecat_export.dataset import find_dataset, pixel_batches
from edgecat_export.pipeline import Request, export
from edgecat_export.verify import median_latency_ms, verify

from edgecat import read_card


def main(folders: list[str]) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print(
        "| checkpoint | file | size | agreement with Keras | accuracy | points lost | one thread |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for checkpoint in sorted(SHIPPED.glob("*.keras")):
        card = read_card(checkpoint)
        dataset = find_dataset(folders)
        targets = np.array([card.labels.index(photo.label) for photo in dataset.photos])
        pixels = np.concatenate(
            list(pixel_batches([photo.path for photo in dataset.photos], card.input))
        )
        with tempfile.TemporaryDirectory() as folder:
            precisions, formats = ["fp32", "fp16", "int8"], ["tflite", "onnx"]
            files = export(Request(checkpoint, Path(folder), precisions, formats))
            from edgecat_export.checkpoint import load  # Keras, which the exports above did without

            model, _ = load(checkpoint)
            reference = np.concatenate(
                [
                    model.predict_on_batch(card.input.normalise(pixels[i : i + 32]))
                    for i in range(0, len(pixels), 32)
                ]
            )
            for file in files:
                if file.path is None:
                    print(f"| {checkpoint.stem} | {'; '.join(file.problems)} | | | | | |")
                    continue
                seen = verify(file.path, pixels, reference, targets)
                print(
                    f"| {checkpoint.stem} | {file.name.removeprefix(f'{card.name}-')} "
                    f"| {file.bytes / 1e6:.2f} MB | {seen.agreement:.2%} | {seen.accuracy:.2%} "
                    f"| {seen.accuracy_lost:.2f} "
                    f"| {median_latency_ms(file.path, pixels[0], 200):.1f} ms |",
                    flush=True,
                )


if __name__ == "__main__":
    main(sys.argv[1:])
