"""A .keras checkpoint is a zip; the card is its member `edgecat.json`."""

from edgecat.formats.archive import find_card

__all__ = ["find_card"]
