"""The service's labels, and what they mean for cats and dogs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from edgecat.classifier import UNSURE, Classification, Score, Scores

LABELS = ("cat", "dog", "neither")

# The service's labelAnnotations: mid, description, score, topicality.
Labels: TypeAlias = "list[dict[str, Any]]"

# Names that decide, by mid, or by description in lower case with spaces for hyphens; the service
# uses both. Felidae, Canidae, "small to medium-sized cats" and the like decide nothing: lynxes and
# foxes have them too, and pets always have one of these names beside them. Wild relatives are
# named, so that a wolf that is 60 % a dog is neither.
_CATS = (
    "/m/01yrx|cat|kitten|tabby cat|black cat|domestic short haired cat|domestic long haired cat"
    "|european shorthair|american shorthair|british shorthair|asian semi longhair"
    "|norwegian forest cat|maine coon|siamese|persian|cat breed"
)
_DOGS = (
    "/m/0bt9lr|/m/0kpmf|dog|puppy|dog breed|dog breed group|companion dog|toy dog|working dog"
    "|guard dog|hunting dog|herding dog|gun dog|sled dog|rare breed (dog)|ancient dog breeds"
    "|street dog|dog crossbreed|terrier|hound|retriever|spaniel"
)
_WILD = (
    "big cats|lion|masai lion|tiger|bengal tiger|siberian tiger|leopard|snow leopard"
    "|clouded leopard|jaguar|cheetah|puma|cougar|lynx|bobcat|ocelot|caracal|serval|wild cat"
    "|jungle cat|sand cat|wolf|grey wolf|gray wolf|red wolf|coyote|jackal|dingo|dhole"
    "|african wild dog|fox|red fox|arctic fox|grey fox|swift fox|raccoon dog|hyena|spotted hyena"
)
MEANINGS = {
    name: label
    for label, names in zip(LABELS, (_CATS, _DOGS, _WILD), strict=True)
    for name in names.split("|")
}


def interpret(labels: Labels, threshold: float, engine: str) -> Classification:
    """Return cat, dog or neither, by the best label that means one of them.

    If none does: neither, with the best label's score. A score below `threshold` is UNSURE.
    """
    best = dict.fromkeys(LABELS, 0.0)
    for found in labels:
        description = found["description"].casefold().replace("-", " ")
        meaning = MEANINGS.get(found["mid"]) or MEANINGS.get(description)
        if meaning:
            best[meaning] = max(best[meaning], found["score"])
    if not any(best.values()):
        best["neither"] = max((found["score"] for found in labels), default=0.0)
    # Of equal scores, neither comes first.
    ranked = sorted(best.items(), key=lambda each: (-each[1], each[0] != "neither"))
    label, score = ranked[0]
    answer = label if score >= threshold else UNSURE
    scores = Scores(Score(*each) for each in ranked)
    return Classification(answer, score, answer, scores, engine)


def as_labels(annotations: Iterable[Any]) -> Labels:
    """Return the label annotations of Google's client as records."""
    return [
        {
            "mid": label.mid,
            "description": label.description,
            "score": round(label.score, 6),
            "topicality": round(label.topicality, 6),
        }
        for label in annotations
    ]


def are_labels(value: object) -> bool:
    """Return whether `value` has the shape of labels."""
    return isinstance(value, list) and all(map(_is_label, value))


def _is_label(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    texts = isinstance(value.get("mid"), str) and isinstance(value.get("description"), str)
    return texts and type(value.get("score")) in (int, float)
