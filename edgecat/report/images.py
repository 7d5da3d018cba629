"""Images inside pages, as data URIs."""

from __future__ import annotations

import base64
import io

from edgecat.photo import decode


def thumbnail(photo: str, side: int) -> str:
    """Return a JPEG of at most `side` x `side` pixels as a data URI. Raise PhotoError."""
    image, content = decode(photo, at_least=(side, side)), io.BytesIO()
    image.thumbnail((side, side))
    image.save(content, "JPEG", quality=80)
    return data_uri("image/jpeg", content.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """Return `content`, of the media type `kind`, as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
