"""A process that only classifies one photo, as the smallest app would.

    python -m edgecat.measure.latency.cold_process '{"model": …, "photo": …}'

`edgecat.measure.latency.cold_start` runs it. It prints one JSON object: the clock at each step
(time.monotonic_ns, which is the same in all processes) and the memory.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

WARM_SECONDS, WARM_PHOTOS = 0.3, 20  # at most, before the steady memory is measured


def main() -> None:
    clock = {"started": time.monotonic_ns()}
    from edgecat.errors import EdgecatError

    request = json.loads(sys.argv[1])
    try:
        answer = classify(request, clock)
    except EdgecatError as error:
        answer = {"error": str(error)}
    except MemoryError:
        problem = "does not fit the memory that is free here; use a smaller model"
        answer = {"error": f"{request['model']}: {problem}"}
    print(json.dumps(answer))


def classify(request: dict[str, Any], clock: dict[str, int]) -> dict[str, Any]:
    """Classify the photo of a request, and note the time of each step in `clock`."""
    from importlib import import_module

    from edgecat.classifier import Classifier
    from edgecat.engines import ENGINES
    from edgecat.measure.board import memory_mb

    options = dict(request)
    if "description" in options:
        from edgecat.foreign.description import Description

        options["description"] = Description(**options["description"])
    photo = options.pop("photo")
    import_module(f"edgecat.engines.{ENGINES[options['engine']].module}")
    clock["imported"] = time.monotonic_ns()
    classifier = Classifier(**options)
    clock["opened"] = time.monotonic_ns()
    tensor = classifier.tensor(classifier.pixels(photo))
    clock["prepared"] = time.monotonic_ns()
    scores = classifier.run(tensor)
    clock["ran"] = time.monotonic_ns()
    answer = classifier.interpret(scores)
    clock["answered"] = time.monotonic_ns()
    first = memory_mb()
    until = time.monotonic() + WARM_SECONDS
    for _ in range(WARM_PHOTOS):
        classifier.classify(photo)
        if time.monotonic() > until:
            break
    warm = memory_mb()
    return {
        "clock": clock,
        "label": answer.label,
        "first_peak_mb": first.get("peak"),
        "peak_mb": warm.get("peak"),
        "steady_mb": warm.get("now"),
    }


if __name__ == "__main__":
    main()
