"""Print what models answer, stage by stage, as JSON lines that two machines can compare bit by bit.

    python scripts/answers.py FOLDER_OF_PHOTOS MODEL…

Noise comes first: on it the engine alone counts, whatever decoding does.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgecat import Classifier
from edgecat.photo import decode, find_photos

NOISE = 4


def digest(array: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def before_softmax(classifier: Classifier) -> str | None:
    """Return the input of TFLite's last operation if that is a softmax; XNNPACK ran the rest."""
    interpreter = getattr(classifier._engines._idle[0], "_interpreter", None)
    operations = [] if interpreter is None else interpreter._get_ops_details()
    softmaxes = [operation for operation in operations if operation["op_name"] == "SOFTMAX"]
    return digest(interpreter.get_tensor(int(softmaxes[-1]["inputs"][0]))) if softmaxes else None


folder, *models = map(Path, sys.argv[1:])
for model in models:
    with Classifier(model, threads=1) as classifier:
        recipe = classifier.card.input
        head = {"model": model.name, "engine": classifier.engine, "runs_on": classifier.runs_on}

        def say(
            name: str,
            pixels: Any,
            decoded: Any = None,
            head: dict[str, str] = head,
            classifier: Classifier = classifier,
        ) -> None:
            scores = classifier.run(classifier.tensor(pixels))
            stages = {
                "decoded": None if decoded is None else digest(decoded),
                "pixels": digest(pixels),
                "logits": before_softmax(classifier),
                "scores": scores.tolist(),
            }
            print(
                json.dumps(
                    {
                        **head,
                        "photo": name,
                        **stages,
                        "label": classifier.card.labels[int(scores.argmax())],
                    }
                ),
                flush=True,
            )

        random = np.random.Generator(np.random.PCG64(0))
        for number in range(NOISE):
            say(
                f"noise {number}",
                random.integers(0, 256, (recipe.height, recipe.width, 3), dtype=np.uint8),
            )
        for photo in find_photos(folder):
            say(photo.name, classifier.pixels(photo), decode(photo, at_least=recipe.scaled))
