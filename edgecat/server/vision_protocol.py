"""Answers of Google Cloud Vision's REST protocol, as far as label detection goes.

After https://cloud.google.com/vision/docs/reference/rest/v1/images/annotate and
https://cloud.google.com/apis/design/errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgecat.card import ModelCard
from edgecat.classifier import Classification
from edgecat.labels import Groups

MAX_BODY = 10 * 1024 * 1024  # bytes of JSON a request
MAX_PHOTO = 20 * 1024 * 1024  # bytes
DEFAULT_RESULTS = 10  # labels a photo, if a feature does not say
MIN_SCORE = 0.01  # labels with less are not answered

# google.rpc.Code
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
PERMISSION_DENIED = 7
UNIMPLEMENTED = 12

STATUS = {  # HTTP's code -> the name in google.rpc.Code
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    411: "INVALID_ARGUMENT",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
GROUPS = {  # group -> the service's description and mid
    "cat": ("Cat", "/m/01yrx"),
    "dog": ("Dog", "/m/0bt9lr"),
}

Record = dict[str, Any]


class RefusedError(Exception):
    """Why a request as a whole is refused.

    HTTP's code, a message for people, google.rpc details, and headers of the answer.
    """

    def __init__(
        self, code: int, message: str, *details: Record, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.headers = headers or {}

    def envelope(self) -> Record:
        """Return Google's JSON for the error."""
        error: Record = {"code": self.code, "message": self.message, "status": STATUS[self.code]}
        if self.details:
            error["details"] = list(self.details)
        return {"error": error}


def rpc_status(code: int, message: str) -> Record:
    """Return the google.rpc.Status of one photo."""
    return {"code": code, "message": message}


BAD_IMAGE = rpc_status(INVALID_ARGUMENT, "Bad image data.")
TOO_LATE = rpc_status(DEADLINE_EXCEEDED, "The photo could not be classified in time.")


def response(annotated: Record, error: Record | None) -> Record:
    """Return one photo's AnnotateImageResponse."""
    return annotated if error is None else {**annotated, "error": error}


def annotation(
    result: Classification, card: ModelCard, max_results: int = DEFAULT_RESULTS
) -> Record:
    """Return the labelAnnotations of a photo, best first.

    Groups score at least as well as `neither`, labels at least MIN_SCORE. A photo without any
    has no labelAnnotations, as in the service's answers.
    """
    sums = Groups(card.labels, card.groups).sums(result.scores)
    least = max(MIN_SCORE, sums.get("neither", 0.0))
    shown = [
        (*GROUPS[group], score)
        for group, score in sums.items()
        if group in GROUPS and score >= least
    ]
    shown += [
        (label[:1].upper() + label[1:], "", score)
        for label, score in result.scores
        if label not in GROUPS and label != "neither" and score >= MIN_SCORE
    ]
    if not shown:
        return {}
    shown.sort(key=lambda each: -each[2])
    return {"labelAnnotations": [_label(*each) for each in shown[:max_results]]}


def _label(name: str, mid: str, score: float) -> Record:
    label: Record = {"mid": mid} if mid else {}
    return {**label, "description": name, "score": score, "topicality": score}


def missing_key() -> RefusedError:
    """Return the refusal of a request without an API key."""
    return RefusedError(
        403,
        "Method doesn't allow unregistered callers (callers without established identity). "
        "Please use an API key to call this API.",
    )


def bad_key() -> RefusedError:
    """Return the refusal of a request with a wrong API key."""
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
    }
    return RefusedError(400, "API key not valid. Please pass a valid API key.", info)


def too_large(limit: int) -> RefusedError:
    """Return the refusal of a body of more than `limit` bytes."""
    return RefusedError(400, f"Request payload size exceeds the limit: {limit} bytes.")


def too_busy(seconds: int) -> RefusedError:
    """Return the refusal of a request that may be repeated after `seconds`."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"}
    return RefusedError(
        429,
        f"Too many photos are waiting; ask again in {seconds} s.",
        info,
        headers={"Retry-After": str(seconds)},
    )
