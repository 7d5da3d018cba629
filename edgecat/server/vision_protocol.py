"""Google Cloud Vision's REST protocol as a server speaks it, as far as label detection goes: requests read, answers and errors written.

After https://cloud.google.com/vision/docs/reference/rest/v1/images/annotate and https://cloud.google.com/apis/design/errors. What is wrong with a
request as a whole refuses it; what is wrong with one image is said in that image's answer, beside the answers about the others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pybase64

from edgecat.card import ModelCard
from edgecat.classifier import Classification
from edgecat.cloud.request import MAX_PHOTOS

MAX_BODY = 10 * 1024 * 1024  # bytes of JSON a request
MAX_PHOTO = 20 * 1024 * 1024  # bytes
DEFAULT_RESULTS = 10  # labels a photo, where a feature does not say
MIN_SCORE = 0.01  # of a label that is worth a word

INVALID_ARGUMENT, DEADLINE_EXCEEDED, PERMISSION_DENIED, UNIMPLEMENTED = (
    3,
    4,
    7,
    12,
)  # google.rpc.Code
STATUS = {  # HTTP's code -> the name in google.rpc.Code that stands beside it
    **{
        400: "INVALID_ARGUMENT",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        405: "UNIMPLEMENTED",
        408: "DEADLINE_EXCEEDED",
        411: "INVALID_ARGUMENT",
    },
    **{
        413: "INVALID_ARGUMENT",
        415: "INVALID_ARGUMENT",
        429: "RESOURCE_EXHAUSTED",
        500: "INTERNAL",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    },
}
FEATURES = {  # names -> numbers; either may be sent
    **{
        "TYPE_UNSPECIFIED": 0,
        "FACE_DETECTION": 1,
        "LANDMARK_DETECTION": 2,
        "LOGO_DETECTION": 3,
        "LABEL_DETECTION": 4,
        "TEXT_DETECTION": 5,
    },
    **{
        "SAFE_SEARCH_DETECTION": 6,
        "IMAGE_PROPERTIES": 7,
        "CROP_HINTS": 9,
        "WEB_DETECTION": 10,
        "DOCUMENT_TEXT_DETECTION": 11,
        "PRODUCT_SEARCH": 12,
    },
    "OBJECT_LOCALIZATION": 19,
}
GROUPS = {"cat": ("Cat", "/m/01yrx"), "dog": ("Dog", "/m/0bt9lr")}  # as the service names them

_CONTEXT = (
    "latLongRect",
    "languageHints",
    "cropHintsParams",
    "productSearchParams",
    "webDetectionParams",
    "textDetectionParams",
)

Record = dict[str, Any]


class RefusedError(Exception):
    """Why a request as a whole is refused: HTTP's code, a message for people, and google.rpc details."""

    def __init__(
        self, code: int, message: str, *details: Record, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.headers = headers or {}

    def envelope(self) -> Record:
        """Google's JSON."""
        error = {"code": self.code, "message": self.message, "status": STATUS[self.code]}
        return {"error": {**error, "details": list(self.details)} if self.details else error}


class Question(NamedTuple):
    """What is asked about one photo."""

    content: bytes = b""  # the photo as it is stored; empty where there is nothing to classify
    max_results: int = DEFAULT_RESULTS
    error: Record | None = None  # google.rpc.Status of what cannot be answered


def read_request(body: bytes) -> list[Question]:
    """The questions of a BatchAnnotateImagesRequest in JSON. Raises RefusedError."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"Invalid JSON payload received. {_clipped(error)}") from None
    top = _object(given, "", "requests", "parent", "labels")
    _string(top, "", "parent")
    if (labels := top.get("labels")) is not None:
        for name in _object(labels, "labels", *(labels if isinstance(labels, dict) else ())):
            _string(labels, "labels", name)
    requests = _list(top, "", "requests")
    if len(requests) > MAX_PHOTOS:
        raise _invalid(
            "requests", f"Too many images per request: {len(requests)}, at most {MAX_PHOTOS}."
        )
    if not requests:
        raise _invalid("requests", "No images in the request: expected 1 to 16 in requests.")
    return [
        _read_question(request, f"requests[{number}]") for number, request in enumerate(requests)
    ]


def annotation(
    answered: Classification, card: ModelCard, max_results: int = DEFAULT_RESULTS
) -> Record:
    """labelAnnotations of a photo, best first: labels and groups that score better than `neither`. A photo of neither has none, as the service's have."""
    sums: dict[str, float] = {}
    for label, score in answered.scores:
        group = card.groups.get(label, label)
        sums[group] = sums.get(group, 0.0) + score
    least = max(MIN_SCORE, sums.get("neither", 0.0))
    shown = [
        (*GROUPS[group], score)
        for group, score in sums.items()
        if group in GROUPS and score >= least
    ]
    shown += [
        (label[:1].upper() + label[1:], "", score)
        for label, score in answered.scores
        if label not in GROUPS and label != "neither" and score >= MIN_SCORE
    ]
    if not shown:
        return {}
    shown.sort(key=lambda each: -each[2])
    return {"labelAnnotations": [_label(*each) for each in shown[:max_results]]}


def _label(name: str, mid: str, score: float) -> Record:
    return {
        **({"mid": mid} if mid else {}),
        "description": name,
        "score": score,
        "topicality": score,
    }


def answer(annotated: Record, error: Record | None) -> Record:
    """One photo's AnnotateImageResponse."""
    return annotated if error is None else {**annotated, "error": error}


def rpc_status(code: int, message: str) -> Record:
    """google.rpc.Status, of one photo."""
    return {"code": code, "message": message}


BAD_IMAGE = rpc_status(INVALID_ARGUMENT, "Bad image data.")
TOO_LATE = rpc_status(DEADLINE_EXCEEDED, "The photo could not be classified in time.")


def missing_key() -> RefusedError:
    return RefusedError(
        403,
        "Method doesn't allow unregistered callers (callers without established identity). Please use an API key to call this API.",
    )


def bad_key() -> RefusedError:
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
    }
    return RefusedError(400, "API key not valid. Please pass a valid API key.", info)


def too_large(limit: int) -> RefusedError:
    return RefusedError(400, f"Request payload size exceeds the limit: {limit} bytes.")


def too_busy(seconds: int) -> RefusedError:
    """`seconds` is how long to wait before asking again."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"}
    return RefusedError(
        429,
        f"Too many photos are waiting; ask again in {seconds} s.",
        info,
        headers={"Retry-After": str(seconds)},
    )


# JSON as protobuf reads it: names in camelCase or snake_case, numbers as text too, null for what is not there, and no name that is not known.


def _read_question(given: Any, path: str) -> Question:
    request = _object(given, path, "image", "features", "imageContext")
    image = _object(request.get("image"), f"{path}.image", "content", "source")
    source = _object(image.get("source"), f"{path}.image.source", "imageUri", "gcsImageUri")
    _object(request.get("imageContext"), f"{path}.image_context", *_CONTEXT)
    features = [
        _read_feature(feature, f"{path}.features[{number}]")
        for number, feature in enumerate(_list(request, path, "features"))
    ]
    content = _content(image, f"{path}.image")
    addresses = [
        _string(source, f"{path}.image.source", name) for name in ("imageUri", "gcsImageUri")
    ]
    address = next(filter(None, addresses), "")
    if not features or not (content or address):
        return Question(
            error=rpc_status(INVALID_ARGUMENT, "Request must specify image and features.")
        )
    asked = {kind for kind, _ in features}
    if "LABEL_DETECTION" not in asked:
        return Question(error=_unsupported(asked))
    if not content:
        if address.startswith("gs://"):
            return Question(
                error=rpc_status(PERMISSION_DENIED, f"Error opening file: {_clipped(address)}")
            )
        message = "We're not allowed to access the URL on your behalf. Please download the content and pass it in."
        return Question(error=rpc_status(PERMISSION_DENIED, message))
    wanted = max(count for kind, count in features if kind == "LABEL_DETECTION")
    if wanted < 0:
        return Question(
            error=rpc_status(INVALID_ARGUMENT, f"max_results {wanted}: expected at least 0.")
        )
    others = asked - {"LABEL_DETECTION"}
    return Question(content, wanted or DEFAULT_RESULTS, _unsupported(others) if others else None)


def _unsupported(kinds: set[str]) -> Record:
    return rpc_status(
        UNIMPLEMENTED, f"{', '.join(sorted(kinds))}: this server answers LABEL_DETECTION alone."
    )


def _read_feature(given: Any, path: str) -> tuple[str, int]:
    """Its type's name and maxResults."""
    feature = _object(given, path, "type", "maxResults", "model")
    _string(feature, path, "model")
    kind = feature.get("type")
    kind = 0 if kind is None else kind
    name = (
        kind
        if isinstance(kind, str) and kind in FEATURES
        else next((name for name, value in FEATURES.items() if _whole(kind) == value), None)
    )
    if name is None:
        raise _bad_value(
            f"{path}.type", "type.googleapis.com/google.cloud.vision.v1.Feature.Type", kind
        )
    wanted = feature.get("maxResults")
    count = 0 if wanted is None else _whole(wanted)
    if count is None or not -(2**31) <= count < 2**31:
        raise _bad_value(f"{path}.max_results", "TYPE_INT32", wanted)
    return name, count


def _whole(value: Any) -> int | None:
    """A whole number, also as text, else None."""
    if isinstance(value, bool):
        return None
    if (
        isinstance(value, str)
        and value.removeprefix("-").isdecimal()
        and value.isascii()
        and len(value) < 20
    ):
        return int(value)
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value == int(value) else None
    return value if isinstance(value, int) else None


def _content(image: Record, path: str) -> bytes:
    """The photo, of base64 in either alphabet, with or without its padding."""
    text = image.get("content")
    if text is None:
        return b""
    try:
        if "-" in text or "_" in text:
            text = text.translate({ord("-"): "+", ord("_"): "/"})
        return pybase64.b64decode(
            text + "=" * (-len(text) % 4), validate=True
        )  # Python's own takes fifty times as long, a twentieth of all a photo takes
    except (
        ValueError,
        TypeError,
        AttributeError,
    ):  # of text that is no base64, and of what is no text
        raise _invalid(
            f"{path}.content",
            f"Invalid value at '{path}.content' (TYPE_BYTES), Base64 decoding failed.",
        ) from None


def _object(given: Any, path: str, *known: str) -> Record:
    """`given` with its names in camelCase."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise _invalid(
            path,
            f"Invalid value at '{path}', expected an object."
            if path
            else "Invalid JSON payload received. Root element must be an object.",
        )
    if all(map(known.__contains__, given)):
        return given
    camel = {_snake(name): name for name in known} | {name: name for name in known}
    for name in given:
        if name not in camel:
            where = f" at '{path}'" if path else ""
            raise _invalid(
                path,
                f'Invalid JSON payload received. Unknown name "{_clipped(name)}"{where}: Cannot find field.',
            )
    return {camel[name]: value for name, value in given.items()}


def _list(record: Record, path: str, name: str) -> list[Any]:
    value = record.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _invalid(
            f"{path}.{name}".strip("."),
            f"Invalid value at '{f'{path}.{name}'.strip('.')}', expected a list.",
        )
    return value


def _string(record: Record, path: str, name: str) -> str:
    value = record.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _bad_value(f"{path}.{_snake(name)}".strip("."), "TYPE_STRING", value)
    return value


def _bad_value(path: str, kind: str, value: Any) -> RefusedError:
    return _invalid(path, f"Invalid value at '{path}' ({kind}), {_clipped(json.dumps(value))}")


def _invalid(field: str, message: str) -> RefusedError:
    violation = {"field": field, "description": message} if field else {"description": message}
    return RefusedError(
        400,
        message,
        {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]},
    )


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _clipped(said: object) -> str:
    """No more of what a client sent than a person reads."""
    text = str(said)
    return text if len(text) <= 100 else f"{text[:100]}…"
