"""The fixtures of pairs.py, for pytest.

They are defined there, since type checkers accept only one conftest.
"""

from pairs import bare_loop, classifier, exported, large_photo, pair, record

__all__ = ["bare_loop", "classifier", "exported", "large_photo", "pair", "record"]
