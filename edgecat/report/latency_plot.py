"""The plot of `edgecat bench --plot`: stages, and latency against accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from edgecat.measure.latency.record import Record
from edgecat.measure.latency.stages import STAGES
from edgecat.report import plots


def draw_latency(records: Sequence[Record], kind: str) -> bytes:
    """Return a file of `kind` (svg, png or pdf) that shows the records with stages."""
    staged = [record for record in records if "stages" in record]
    stages = {}
    points = []
    for number, record in enumerate(staged, 1):
        threads = f"{record['num_threads']} thread{'s' * (record['num_threads'] > 1)}"
        stages[f"{number}. {record['model']}, {threads}"] = {
            stage: record["stages"][stage]["median_ms"] for stage in STAGES
        }
        if record["accuracy"] is not None:
            points.append(
                plots.Point(
                    str(number),
                    100 * record["accuracy"],
                    record["photo_to_answer"]["median_ms"],
                    record["model_size_mb"] * 2**20 / 1e6,
                )
            )
    with plots.style():
        figure, below, above = plots.figure_of(7, 4.5 + 0.4 * len(staged), 2)
        plots.draw_stages(below, stages)
        plots.draw_accuracy_against_latency(
            above, points, "milliseconds from photo to answer", "accuracy by the model card, %"
        )
        return plots.as_file(figure, kind)
