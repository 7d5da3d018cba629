"""Labels, and the groups that labels of one meaning fall into."""

from __future__ import annotations

# Class folders are often named in the plural; the label is what one photo shows.
_SINGULAR = {"cats": "cat", "dogs": "dog"}


def label_of_folder(name: str) -> str:
    """The label that a class folder of this name stands for: `cats` -> `cat`, `Dog` -> `dog`, else the name."""
    folded = name.strip().casefold()
    if folded in ("cat", "dog", "neither"):
        return folded
    return _SINGULAR.get(folded, name)
