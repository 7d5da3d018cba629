"""A process that does nothing but classify one photo, as the smallest app would: what `edgecat.measure.latency` starts to measure a cold start.

    python -m edgecat.measure.cold_start '{"model": …, "photo": …}'

Prints one JSON object: the clock at each step (time.monotonic_ns, which is the same in all processes), and the memory.
"""

from __future__ import annotations

import json
import sys
import time

WARM_SECONDS, WARM_PHOTOS = 0.3, 20  # at most, of what runs before the steady memory is read


def main() -> None:
    clock = {"started": time.monotonic_ns()}
    from importlib import import_module

    from edgecat.classifier import Classifier
    from edgecat.engines import ENGINES
    from edgecat.errors import EdgecatError
    from edgecat.measure.board import memory_mb

    wanted = json.loads(sys.argv[1])
    if "description" in wanted:
        from edgecat.foreign.description import Description

        wanted["description"] = Description(**wanted["description"])
    photo, module = wanted.pop("photo"), ENGINES[wanted["engine"]].module
    try:
        import_module(f"edgecat.engines.{module}")
        clock["imported"] = time.monotonic_ns()
        classifier = Classifier(**wanted)
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
    except EdgecatError as error:
        print(json.dumps({"error": str(error)}))
        return
    except MemoryError:
        print(
            json.dumps(
                {
                    "error": f"{wanted['model']}: does not fit the memory that is free here; use a smaller model"
                }
            )
        )
        return
    warm = memory_mb()
    print(
        json.dumps(
            {
                "clock": clock,
                "label": answer.label,
                "first_peak_mb": first.get("peak"),
                "peak_mb": warm.get("peak"),
                "steady_mb": warm.get("now"),
            }
        )
    )


if __name__ == "__main__":
    main()
