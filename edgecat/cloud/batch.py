"""One request about several photos, and how photos are divided into requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from google.api_core import exceptions as google_errors
from google.cloud import vision
from google.protobuf.json_format import ParseError

from edgecat.cloud.answers import Labels, as_labels
from edgecat.cloud.connection import Connection
from edgecat.cloud.request import MAX_BASE64, MAX_PHOTOS, base64_bytes

# Labels a photo, all that the service has. Of its usual 10, none may be the animal in a crowded
# photo.
MAX_RESULTS = 50
MODEL = "builtin/stable"

# google.rpc.Code: deadline exceeded, resource exhausted, internal, unavailable
_TRANSIENT_CODES = (4, 8, 13, 14)

Answers: TypeAlias = "dict[str, Labels | str]"  # by digest: labels, or why the photo is refused


def request_labels(
    connection: Connection, batch: Mapping[str, bytes], answers: Answers, timeout: float
) -> None:
    """Send one request about the photos of `batch`, by digest, and add to `answers`.

    Raise CloudError, and what Google's client raises; also if some photos met a transient error.
    """
    feature = vision.Feature(
        type_=vision.Feature.Type.LABEL_DETECTION, max_results=MAX_RESULTS, model=MODEL
    )
    requests = [
        vision.AnnotateImageRequest(image=vision.Image(content=content), features=[feature])
        for content in batch.values()
    ]
    try:
        responses = connection.client.batch_annotate_images(
            requests=requests, retry=None, timeout=timeout
        ).responses
    except (ParseError, UnicodeDecodeError, AttributeError) as error:
        # The client raises these on what is no JSON, or not Google's.
        raise connection.not_google(error) from None
    connection.reached = True
    if len(responses) != len(batch):
        counts = f"{len(responses)} answers for {len(batch)} photos"
        raise connection.not_google(counts)
    transient = None
    for digest, response in zip(batch, responses, strict=True):
        code, message = response.error.code, response.error.message
        if code in _TRANSIENT_CODES:
            transient = google_errors.from_grpc_status(code, message)
        elif code:
            answers[digest] = connection.shown(message)
        else:
            answers[digest] = as_labels(response.label_annotations)
    if transient is not None:
        raise transient


def batches(contents: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """Yield as many photos together as a request may hold."""
    batch: dict[str, bytes] = {}
    room = MAX_BASE64
    for digest, content in contents.items():
        weight = base64_bytes(content)
        if batch and (len(batch) == MAX_PHOTOS or weight > room):
            yield batch
            batch, room = {}, MAX_BASE64
        batch[digest] = content
        room -= weight
    if batch:
        yield batch
