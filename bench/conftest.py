"""Makes the fixtures of pairs.py known to pytest; there, not here, as type checkers know one conftest alone."""

from pairs import bare_loop, classifier, exported, large_photo, pair, record

__all__ = ["bare_loop", "classifier", "exported", "large_photo", "pair", "record"]
