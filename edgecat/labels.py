"""Groups of labels, ImageNet's classes, and the labels that class folders stand for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

# Class folders are often named in the plural; a label names what one photo shows.
_SINGULAR = {"cats": "cat", "dogs": "dog"}

# Indices of ImageNet's classes. Wild cats, wolves, foxes and the wild dogs (dingo, dhole and
# African hunting dog, 273 to 275) are neither. WordNet, whose tree ImageNet follows, places them
# beside `domestic cat` and `dog`, not below, and nobody keeps them as pets.
_DOGS = range(151, 269)  # Chihuahua to Mexican hairless
_CATS = range(281, 286)  # tabby to Egyptian cat


class Groups:
    """The groups that the labels of a model belong to: tabby and tiger cat are `cat`.

    `groups` maps labels to groups, as in a model card. A label that is not in it is a group of
    its own.
    """

    def __init__(self, labels: Sequence[str], groups: Mapping[str, str]) -> None:
        self._of = {label: groups.get(label, label) for label in labels}
        self.names = tuple(dict.fromkeys(self._of.values()))  # in the order of the labels

    def of(self, label: str) -> str:
        """Return the group of a label; what is no label of the model is returned unchanged."""
        return self._of.get(label, label)

    def sums(self, scores: Iterable[tuple[str, float]]) -> dict[str, float]:
        """Return the sum of the (label, score) pairs of each group, in the order of the pairs."""
        sums: dict[str, float] = {}
        for label, score in scores:
            group = self._of[label]
            sums[group] = sums.get(group, 0.0) + score
        return sums


class ImageNetClass(NamedTuple):
    synset: str  # WordNet's number, as in the names of ImageNet's files and folders: n02123045
    name: str


@cache
def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """Return the 1,000 classes of ImageNet (ILSVRC 2012), in the order of a model's outputs.

    Names are unique.
    """
    from pathlib import Path  # here, since classifying a photo needs Groups alone

    lines = (Path(__file__).parent / "imagenet.txt").read_text(encoding="utf-8").splitlines()
    return tuple(ImageNetClass(*line.split("\t")) for line in lines)


def imagenet_groups() -> dict[str, str]:
    """Return the group of each ImageNet class by name: `cat`, `dog` or `neither`.

    House cats are `cat`; wild cats are `neither`.
    """
    groups = {}
    for index, each in enumerate(imagenet_classes()):
        groups[each.name] = "dog" if index in _DOGS else "cat" if index in _CATS else "neither"
    return groups


def imagenet_name(file_name: str) -> str | None:
    """Return the ImageNet class in a file or folder name: `n02123045_tabby.JPEG` -> `tabby`.

    Return None for names that do not begin with the number of a class.
    """
    match = re.match(r"n\d{8}(?![0-9])", file_name)
    if match is None:
        return None
    return next((each.name for each in imagenet_classes() if each.synset == match[0]), None)


def label_of_folder(name: str) -> str:
    """Return the label that a class folder stands for; the folder's own name if it is not known.

    `cats` -> `cat`, `Dog` -> `dog`, `n02123045` -> `tabby`.
    """
    folded = name.strip().casefold()
    if folded in ("cat", "dog", "neither"):
        return folded
    return _SINGULAR.get(folded) or imagenet_name(name) or name
