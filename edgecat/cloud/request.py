"""Photos in a request to Google Cloud Vision: how they are sent, and the service's limits.

After https://cloud.google.com/vision/quotas. Needs none of Google's libraries.
"""

from __future__ import annotations

import io

from edgecat.photo import EncodedPhoto, decode

MAX_PHOTOS = 16  # a request
MAX_BASE64 = 9_500_000  # bytes a request; the service takes 10 MB of JSON in all
HEAVY = 1_000_000  # bytes; larger photos are scaled down: labels need no more than 640 x 480 pixels
SIDE = 640  # pixels; the shorter side of a photo that is scaled down
PHOTOS_PER_MINUTE = 1800  # the quota


def light(photo: EncodedPhoto) -> bytes:
    """Return the photo unchanged, or a heavy one as a JPEG of moderate size. Raise PhotoError."""
    if len(photo.content) <= HEAVY:
        return photo.content
    image = decode(photo, at_least=(SIDE, SIDE))
    scale = min(1.0, SIDE / min(image.size), 10 * SIDE / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    file = io.BytesIO()
    image.resize(size, reducing_gap=3.0).save(file, "JPEG", quality=90)
    return file.getvalue()


def base64_bytes(content: bytes) -> int:
    """Return the bytes of a photo in a request: base64, and the JSON around it."""
    return 4 * (len(content) // 3 + 1) + 200
