"""What a request to Google Cloud Vision holds, costs and must at least take. Needs none of Google's libraries.

Limits and prices are those of https://cloud.google.com/vision/quotas and https://cloud.google.com/vision/pricing.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgecat.photo import EncodedPhoto, decode

FREE_UNITS = 1000  # a month; one unit is one photo
DOLLARS_PER_UNIT = 1.50 / 1000  # beyond these, up to five million a month

MAX_PHOTOS = 16  # a request
MAX_BASE64 = 9_500_000  # bytes a request; the service takes 10 MB of JSON in all
HEAVY = 1_000_000  # bytes; a photo with more is sent scaled down, as labels need no more than 640 x 480 pixels
SIDE = 640  # pixels; the shorter side of a photo scaled down
PHOTOS_PER_MINUTE = 1800  # the quota
MILLION = 1_000_000


def light(photo: EncodedPhoto) -> bytes:
    """The photo as it is stored; a heavy one as a JPEG of moderate size. Raises PhotoError."""
    if len(photo.content) <= HEAVY:
        return photo.content
    image = decode(photo, at_least=(SIDE, SIDE))
    scale = min(1.0, SIDE / min(image.size), 10 * SIDE / max(image.size))
    image = image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), reducing_gap=3.0
    )
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def base64_bytes(content: bytes) -> int:
    """Of a photo in a request: in base64, with the JSON around it."""
    return 4 * (len(content) // 3 + 1) + 200


def dollars_of_a_million() -> float:
    """Of asking about a million photos in one month."""
    return (MILLION - FREE_UNITS) * DOLLARS_PER_UNIT


@dataclass(frozen=True)
class Network:
    """What stands between here and the service."""

    rtt_ms: float  # there and back
    up_mbit: float  # a second, from here

    @staticmethod
    def parse(given: str) -> Network:
        """Of 'rtt=60ms,up=10Mbit'. Raises ValueError."""
        found = dict(part.partition("=")[::2] for part in given.replace(" ", "").split(","))
        rtt = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", found.pop("rtt", ""))
        up = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG])bit(?:/s)?", found.pop("up", ""))
        if not rtt or not up or found or float(up[1]) == 0:
            raise ValueError(f"'{given}', expected such as rtt=60ms,up=10Mbit")
        return Network(
            float(rtt[1]) * {"ms": 1, "s": 1000}[rtt[2]],
            float(up[1]) * {"k": 1e-3, "M": 1, "G": 1e3}[up[2]],
        )

    def upload_ms(self, sent: float) -> float:
        """Of so many bytes."""
        return sent * 8 / 1000 / self.up_mbit

    def computed(
        self, photos: Sequence[EncodedPhoto], here_ms: float | None, here_per_s: float | None
    ) -> dict[str, Any]:
        """The least that the service can take for one of these photos, on average, beside what this machine takes; nothing of it was measured.

        On an open connection, with an answer that takes no time: one round trip, and the upload. A million photos keep the uplink full, or meet the quota.
        """
        sent = sum(base64_bytes(light(photo)) for photo in photos) / len(photos)
        upload, least = self.upload_ms(sent), self.rtt_ms + self.upload_ms(sent)
        hours = max(upload * MILLION / 3.6e6, MILLION / PHOTOS_PER_MINUTE / 60)
        found: dict[str, Any] = {
            **{
                "computed": True,
                "rtt_ms": self.rtt_ms,
                "up_mbit_per_s": self.up_mbit,
                "upload_bytes": round(sent),
                "least_ms": round(least, 2),
            },
            "million_photos": {
                "cloud_usd": round(dollars_of_a_million(), 2),
                "cloud_hours": round(hours, 1),
            },
        }
        if here_per_s:
            found["million_photos"] |= {
                "here_usd": 0.0,
                "here_hours": round(MILLION / here_per_s / 3600, 1),
            }
        if here_ms:
            found |= {
                **{"here_ms": round(here_ms, 3), "here_is_faster": here_ms < least},
                "here_wins_from_rtt_ms": round(here_ms, 2),  # however fast the uplink
                "here_wins_below_mbit_per_s": round(
                    sent * 8 / 1000 / here_ms, 1
                ),  # however short the round trip
            }
        return found
