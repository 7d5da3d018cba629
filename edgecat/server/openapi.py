"""The OpenAPI description at /openapi.json."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path


def openapi_json(with_key: bool) -> bytes:
    """Return the description of a server that needs an API key, or of one that does not."""
    document = json.loads(Path(__file__).with_name("openapi.json").read_bytes())
    document["info"]["version"] = version("edgecat")
    if not with_key:
        for path in document["paths"].values():
            for method, operation in path.items():
                if method != "parameters" and "security" in operation:
                    _remove_key(operation)
    return json.dumps(document, indent=1).encode()


def _remove_key(operation: dict[str, dict[str, object]]) -> None:
    """Remove what an operation says of keys."""
    del operation["security"]
    if "requestBody" not in operation:  # nothing else can be wrong with it
        for code in ("400", "403"):
            del operation["responses"][code]
