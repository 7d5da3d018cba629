"""The OpenAPI description at /openapi.json."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from edgecat.cloud.request import MAX_PHOTOS
from edgecat.server.vision_protocol import FEATURES, STATUS

Schema = dict[str, Any]

_BASE64 = "^([A-Za-z0-9+/_-]{4})*([A-Za-z0-9+/_-]{2}={0,2}|[A-Za-z0-9+/_-]{3}=?)?$"
_TEXT: Schema = {"type": ["string", "null"]}
_REASONS = {
    400: "The request is not as described, the API key is wrong, or the body exceeds the limit (10 MB of JSON, 20 MB of a photo).",
    403: "An API key is needed.",
    408: "The body came too slowly.",
    411: "The request has no Content-Length.",
    415: "The Content-Type is another.",
    429: "Too many photos are waiting.",
    500: "An error that nobody foresaw.",
    504: "The photo could not be classified in time.",
}


def openapi(with_key: bool) -> Schema:
    """Of a server that asks for an API key, or of one that does not."""
    security: Schema = {"security": [{"header": []}, {"query": []}]} if with_key else {}
    keyed = (400, 403) if with_key else ()
    top = {
        "name": "top",
        "in": "query",
        "description": "Only the best so many labels.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    }
    annotate: Schema = {
        "operationId": "annotate",
        "summary": "Google Cloud Vision's images:annotate, LABEL_DETECTION alone.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/BatchAnnotateImagesRequest"}
                }
            },
        },
        "responses": {
            "200": _answer("An answer about each photo, in order.", "BatchAnnotateImagesResponse"),
            **_errors(400, 403, 408, 411, 415, 429, 500),
        },
        **security,
    }
    photo = {"type": "string", "format": "binary"}
    forms: Schema = {
        kind: {"schema": photo}
        for kind in ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
    }
    forms["multipart/form-data"] = {
        "schema": {"type": "object", "required": ["photo"], "properties": {"photo": photo}}
    }
    classify: Schema = {
        "operationId": "classify",
        "summary": "One photo; the answer is that of edgecat classify --json.",
        "parameters": [top],
        "requestBody": {"required": True, "content": forms},
        "responses": {
            "200": _answer("What the photo shows.", "Classification"),
            **_errors(400, 403, 408, 411, 415, 429, 500, 504),
        },
        **security,
    }
    projects = [_in_path("project")]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edgecat",
            "version": version("edgecat"),
            "description": "Cat, dog or neither, by the model on this machine.",
            "license": _LICENCE,
        },
        "paths": {
            "/v1/images:annotate": {"post": annotate},
            "/v1/projects/{project}/images:annotate": {
                "parameters": projects,
                "post": {**annotate, "operationId": "annotateInProject"},
            },
            "/v1/projects/{project}/locations/{location}/images:annotate": {
                "parameters": [*projects, _in_path("location")],
                "post": {**annotate, "operationId": "annotateInLocation"},
            },
            "/v1/classify": {"post": classify},
            "/v1/model": {
                "get": _get(
                    "model",
                    "The model's card.",
                    "application/json",
                    {"type": "object"},
                    keyed,
                    security,
                )
            },
            "/healthz": {
                "get": _get(
                    "healthz",
                    "Whether the server answers.",
                    "application/json",
                    {"$ref": "#/components/schemas/Health"},
                    (),
                    {},
                )
            },
            "/metrics": {
                "get": _get(
                    "metrics", "For Prometheus.", "text/plain", {"type": "string"}, keyed, security
                )
            },
            "/openapi.json": {
                "get": _get(
                    "openapi", "This description.", "application/json", {"type": "object"}, (), {}
                )
            },
            "/": {
                "get": _get("page", "A page to try it.", "text/html", {"type": "string"}, (), {})
            },
        },
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "header": {"type": "apiKey", "in": "header", "name": "X-Goog-Api-Key"},
                "query": {"type": "apiKey", "in": "query", "name": "key"},
            },
        },
    }


def _errors(*codes: int) -> Schema:
    """What may be answered in Google's envelope."""
    return {str(code): _answer(_REASONS[code], "Error") for code in codes}


def _answer(description: str, schema: str) -> Schema:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _get(
    name: str, summary: str, kind: str, schema: Schema, errors: tuple[int, ...], security: Schema
) -> Schema:
    answers = {
        "200": {"description": summary, "content": {kind: {"schema": schema}}},
        **_errors(*errors),
    }
    return {"operationId": name, "summary": summary, "responses": answers, **security}


def _in_path(name: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9-]+$"},
    }


def _object(
    required: tuple[str, ...] = (),
    closed: bool = True,
    nullable: bool = False,
    **properties: Schema,
) -> Schema:
    found: Schema = {"type": ["object", "null"] if nullable else "object", "properties": properties}
    if required:
        found["required"] = list(required)
    if closed:
        found["additionalProperties"] = False
    return found


def _list_of(schema: str, **more: Any) -> Schema:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{schema}"}, **more}


_LICENCE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
_SCORE: Schema = {"type": "number", "minimum": 0, "maximum": 1.0001}
_WHOLE: Schema = {"type": ["integer", "null"], "minimum": -(2**31), "maximum": 2**31 - 1}
_ANYTHING: Schema = {"type": ["object", "null"]}
_SCHEMAS: Schema = {
    "BatchAnnotateImagesRequest": _object(
        ("requests",),
        requests=_list_of("AnnotateImageRequest", minItems=1, maxItems=MAX_PHOTOS),
        parent=_TEXT,
        labels={"type": ["object", "null"], "additionalProperties": _TEXT},
    ),
    "AnnotateImageRequest": _object(
        image={"$ref": "#/components/schemas/Image"},
        features={"type": ["array", "null"], "items": {"$ref": "#/components/schemas/Feature"}},
        imageContext=_object(
            nullable=True,
            latLongRect={},
            languageHints={},
            cropHintsParams={},
            productSearchParams={},
            webDetectionParams={},
            textDetectionParams={},
        ),
        nullable=True,
    ),
    "Image": _object(
        content={
            "type": ["string", "null"],
            "pattern": _BASE64,
            "contentEncoding": "base64",
            "description": "The photo.",
        },
        source=_object(imageUri=_TEXT, gcsImageUri=_TEXT, nullable=True),
        nullable=True,
    ),
    "Feature": _object(
        type={"enum": [*FEATURES, *FEATURES.values(), *map(str, FEATURES.values()), None]},
        maxResults={"anyOf": [_WHOLE, {"type": "string", "pattern": "^-?[0-9]{1,9}$"}]},
        model=_TEXT,
        nullable=True,
    ),
    "BatchAnnotateImagesResponse": _object(
        ("responses",), responses=_list_of("AnnotateImageResponse", minItems=1, maxItems=MAX_PHOTOS)
    ),
    "AnnotateImageResponse": _object(
        labelAnnotations=_list_of("EntityAnnotation", minItems=1),
        error={"$ref": "#/components/schemas/RpcStatus"},
    ),
    "EntityAnnotation": _object(
        ("description", "score", "topicality"),
        mid={"type": "string"},
        description={"type": "string"},
        score=_SCORE,
        topicality=_SCORE,
    ),
    "RpcStatus": _object(
        ("code", "message"),
        code={"type": "integer", "minimum": 1, "maximum": 16},
        message={"type": "string"},
    ),
    "Classification": _object(
        ("photo", "label", "score", "group", "scores", "engine"),
        photo={"type": "string"},
        label={"type": "string"},
        score=_SCORE,
        group={"type": "string"},
        scores={"type": "object", "additionalProperties": _SCORE},
        engine={"type": "string"},
    ),
    "Health": _object(
        ("status", "model", "engine", "waiting"),
        status={"const": "ok"},
        model={"type": "string"},
        engine={"type": "string"},
        waiting={"type": "integer", "minimum": 0},
    ),
    "Error": _object(
        ("error",),
        error=_object(
            ("code", "message", "status"),
            code={"type": "integer"},
            message={"type": "string"},
            status={"enum": sorted(set(STATUS.values()))},
            details={"type": "array", "items": {"type": "object"}},
        ),
    ),
}
