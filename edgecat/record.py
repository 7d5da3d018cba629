"""A photo's answer as JSON: what `edgecat classify --json` prints and `edgecat serve` sends."""

from __future__ import annotations

from typing import Any

from edgecat.classifier import Classification

MANY_LABELS = 5  # of a model with more, so many are shown: nobody reads a thousand scores


def as_record(name: str, found: Classification, top: int | None = None) -> dict[str, Any]:
    """With the best `top` labels; else all, of many the best five."""
    if top is None and len(found.scores) > MANY_LABELS:
        top = MANY_LABELS
    scores = {label: round(score, 6) for label, score in found.scores[:top]}
    return {
        "photo": name,
        "label": found.label,
        "score": round(found.score, 6),
        "group": found.group,
        "scores": scores,
        "engine": found.engine,
    }
