"""Labels, and the groups that labels of one meaning fall into."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

# Class folders are often named in the plural; the label is what one photo shows.
_SINGULAR = {"cats": "cat", "dogs": "dog"}

# Places among ImageNet's classes. Wild cats, wolves, foxes and the wild dogs (dingo, dhole and African hunting dog, 273 to 275) are
# neither: WordNet, whose tree ImageNet follows, has them beside `domestic cat` and `dog`, not below, and nobody keeps them as pets.
_DOGS = range(151, 269)  # Chihuahua to Mexican hairless
_CATS = range(281, 286)  # tabby to Egyptian cat


class ImageNetClass(NamedTuple):
    synset: str  # WordNet's number, as ImageNet's files and folders are named: n02123045
    name: str


@cache
def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """The 1,000 classes of ImageNet (ILSVRC 2012) in the order of the outputs of models trained on them; every name is another."""
    lines = (Path(__file__).parent / "imagenet.txt").read_text(encoding="utf-8").splitlines()
    return tuple(ImageNetClass(*line.split("\t")) for line in lines)


def imagenet_groups() -> dict[str, str]:
    """Name of each class of ImageNet -> `cat` for house cats, `dog` for dogs, else `neither`."""
    return {
        found.name: "dog" if i in _DOGS else "cat" if i in _CATS else "neither"
        for i, found in enumerate(imagenet_classes())
    }


def imagenet_name(file_name: str) -> str | None:
    """The class that a file or folder named as ImageNet names them stands for: `n02123045_tabby.JPEG` -> `tabby`; None for other names."""
    numbered = re.match(r"n\d{8}(?![0-9])", file_name)
    return (
        next((found.name for found in imagenet_classes() if found.synset == numbered[0]), None)
        if numbered
        else None
    )


def label_of_folder(name: str) -> str:
    """The label that a class folder of this name stands for: `cats` -> `cat`, `Dog` -> `dog`, `n02123045` -> `tabby`, else the name."""
    folded = name.strip().casefold()
    if folded in ("cat", "dog", "neither"):
        return folded
    return _SINGULAR.get(folded) or imagenet_name(name) or name
