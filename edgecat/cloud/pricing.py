"""Prices of Google Cloud Vision's label detection.

After https://cloud.google.com/vision/pricing.
"""

from __future__ import annotations

from typing import NamedTuple

FREE_UNITS = 1000  # a month; one unit is one photo
DOLLARS_PER_UNIT = 1.50 / 1000  # beyond the free ones, up to five million a month
MILLION = 1_000_000


class Estimate(NamedTuple):
    """What it would use up to ask about photos."""

    photos: int
    units: int  # photos, each once, whose answers are not in the cache

    @property
    def dollars(self) -> float:
        """The price if none of the month's free units are used yet."""
        return max(0, self.units - FREE_UNITS) * DOLLARS_PER_UNIT

    @property
    def most_dollars(self) -> float:
        """The price if all of the month's free units are used."""
        return self.units * DOLLARS_PER_UNIT


def dollars_of_a_million() -> float:
    """Return the price of a million photos in one month."""
    return Estimate(MILLION, MILLION).dollars
