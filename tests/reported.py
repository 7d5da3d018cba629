"""What the tests of `edgecat report` share."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from real import CHELSEA, ROOT

HISTORY = ROOT / "bench" / "records" / "mobilenet"
EXPECTED = "expected the output of: edgecat evaluate DATA --json"
CLOUD: dict[str, Any] = {
    **{
        "model": "Google Cloud Vision",
        "engine": "Cloud Vision API v1",
        "file_bytes": None,
        "data": ["pets"],
        "command": "edgecat evaluate pets --json",
    },
    **{
        "photos": 200,
        "accuracy": 0.995,
        "accuracy_interval": [0.972, 0.999],
        "balanced_accuracy": 0.995,
        "calibration_error": 0.02,
    },
    "classes": {
        label: {
            **{
                "photos": 100,
                "accuracy": right / 100,
                "accuracy_interval": [0.9, 1.0],
                "answers": {label: right, "neither": 100 - right},
            },
            **{"mean_confidence": 0.97, "confidence_histogram": [0] * 18 + [10, 90]},
        }
        for label, right in (("cat", 100), ("dog", 99))
    },
    **{
        "mistakes": 1,
        "worst": [{"photo": str(CHELSEA), "label": "dog", "answer": "neither", "score": 0.9}],
        "failures": [],
        "seconds": 60.0,
    },
}


class Page(HTMLParser):
    """What a browser would make of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = [("", {})]
        self.rows: list[list[tuple[str, str]]] = []  # of the table: value and text of each <data>
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        tag, attributes = self.tags[-1]
        if tag == "data" and "value" in attributes:
            self.rows[-1].append((attributes.pop("value") or "", data))

    def images(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "img"]


def put(photo: Path, *places: Path) -> None:
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, place)
