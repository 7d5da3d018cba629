"""The least time that a cloud service takes over a network, computed from its speed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgecat.cloud.pricing import MILLION, dollars_of_a_million
from edgecat.cloud.request import PHOTOS_PER_MINUTE, base64_bytes, light
from edgecat.photo import EncodedPhoto


@dataclass(frozen=True)
class Network:
    """The network between this machine and the service."""

    rtt_ms: float  # round trip
    up_mbit: float  # a second, from this machine

    @staticmethod
    def parse(text: str) -> Network:
        """Return the network that a text such as 'rtt=60ms,up=10Mbit' describes.

        Raise ValueError.
        """
        parts = dict(part.partition("=")[::2] for part in text.replace(" ", "").split(","))
        rtt = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", parts.pop("rtt", ""))
        up = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG])bit(?:/s)?", parts.pop("up", ""))
        if not rtt or not up or parts or float(up[1]) == 0:
            raise ValueError(f"'{text}', expected such as rtt=60ms,up=10Mbit")
        milliseconds = {"ms": 1, "s": 1000}[rtt[2]]
        megabits = {"k": 1e-3, "M": 1, "G": 1e3}[up[2]]
        return Network(float(rtt[1]) * milliseconds, float(up[1]) * megabits)

    def upload_ms(self, sent: float) -> float:
        """Return the milliseconds to send so many bytes."""
        return sent * 8 / 1000 / self.up_mbit

    def computed(
        self, photos: Sequence[EncodedPhoto], here_ms: float | None, here_per_s: float | None
    ) -> dict[str, Any]:
        """Return the least time of the service for one of `photos`, beside this machine's.

        Nothing of the service is measured. The connection is open and the answer takes no time:
        what remains is one round trip and the upload. A million photos keep the uplink full, or
        reach the quota. `here_ms` and `here_per_s` are this machine's latency and throughput.
        """
        sent = sum(base64_bytes(light(photo)) for photo in photos) / len(photos)
        upload = self.upload_ms(sent)
        least = self.rtt_ms + upload
        hours = max(upload * MILLION / 3.6e6, MILLION / PHOTOS_PER_MINUTE / 60)
        million: dict[str, float] = {
            "cloud_usd": round(dollars_of_a_million(), 2),
            "cloud_hours": round(hours, 1),
        }
        record: dict[str, Any] = {
            "computed": True,
            "rtt_ms": self.rtt_ms,
            "up_mbit_per_s": self.up_mbit,
            "upload_bytes": round(sent),
            "least_ms": round(least, 2),
            "million_photos": million,
        }
        if here_per_s:
            million["here_usd"] = 0.0
            million["here_hours"] = round(MILLION / here_per_s / 3600, 1)
        if here_ms:
            record["here_ms"] = round(here_ms, 3)
            record["here_is_faster"] = here_ms < least
            # However fast the uplink, and however short the round trip.
            record["here_wins_from_rtt_ms"] = round(here_ms, 2)
            record["here_wins_below_mbit_per_s"] = round(sent * 8 / 1000 / here_ms, 1)
        return record
