"""Datasets: labelled photos from class folders, their parts, order and pixels."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecat.card import InputRecipe, ModelCard
from edgecat.errors import DataError, PhotoError
from edgecat.labels import imagenet_name
from edgecat.measure.accuracy import (
    LabelledPhoto,
    find_labelled_photos,
    judged_by_label,
    loose_photos,
)
from edgecat.photo import decode, read_pixels

CALIBRATION_PHOTOS = 500
VERIFICATION_PHOTOS = 1000
FEW_PHOTOS = 100  # fewer calibrate badly
UNKNOWN = ""  # the label of a photo that may show anything
IMBALANCE = 10  # times: a class this much larger than another is worth a warning
FEW_FROM_ORIGIN = 20  # photos: fewer with the same prefix are no origin; enough to validate one
Part = tuple[str, str]  # label, origin


@dataclass(frozen=True)
class Dataset:
    """Photos with labels; `labels` in the order of the model's outputs."""

    photos: tuple[LabelledPhoto, ...]
    labels: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        counted = Counter(photo.label for photo in self.photos)
        return {label: counted[label] for label in self.labels}

    def targets(self) -> npt.NDArray[np.int64]:
        index = {UNKNOWN: -1} | {label: i for i, label in enumerate(self.labels)}
        return np.array([index[photo.label] for photo in self.photos])  # (photos,)

    def digest(self) -> str:
        """Return a sha256 of every photo's label and content; names and order do not matter."""
        lines = sorted(
            f"{label} {hashlib.sha256(path.read_bytes()).hexdigest()}"
            for path, label, _ in self.photos
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def warnings(self) -> list[str]:
        counts = self.counts()
        small, large = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        if counts[large] < IMBALANCE * counts[small]:
            return []
        return [
            f"'{large}' has {counts[large]} photos, '{small}' only {counts[small]}: "
            f"the model will lean to '{large}'; add photos of '{small}'"
        ]


def find_dataset(folders: Sequence[str], exclude: Iterable[str] = ()) -> Dataset:
    """Return the photos of all `folders`.

    Each is a folder of class folders, or LABEL=FOLDER for the photos of one class. `exclude` has
    names of files to leave out. A photo's origin is the beginning of its file's name, up to the
    first "_", if at least `FEW_FROM_ORIGIN` photos of its folder share it; else the folder.
    Raise DataError.
    """
    excluded = set(exclude)
    photos = [photo for photo in find_labelled_photos(folders) if photo.path.name not in excluded]
    shared = Counter((photo.origin, _prefix(photo)) for photo in photos)
    for place, photo in enumerate(photos):
        prefix = _prefix(photo)
        if prefix and shared[photo.origin, prefix] >= FEW_FROM_ORIGIN:
            photos[place] = photo._replace(origin=prefix)
    labels = tuple(sorted({photo.label for photo in photos}))
    if len(labels) < 2:
        problem = f"only one class, '{labels[0]}'" if labels else "no photos"
        raise DataError(
            f"{', '.join(folders)}: {problem}; expected one folder of photos for each of at least "
            "two classes, such as cats/ and dogs/"
        )
    return Dataset(tuple(photos), labels)


def part_of(photo: LabelledPhoto) -> Part:
    return photo.label, photo.origin


def _prefix(photo: LabelledPhoto) -> str:
    prefix, underscore, _ = photo.path.name.partition("_")
    return prefix if underscore else ""


def find_photos_for(card: ModelCard, folders: Sequence[str]) -> Dataset:
    """Return photos to calibrate and verify a trained model on.

    `folders` are as for `find_dataset`, or folders of photos of any kind. The dataset's labels are
    the model's, or its groups where the class folders have their names. Raise DataError.
    """
    loose, classes = [], []
    for folder in folders:
        paths = loose_photos(folder)
        loose += paths
        if not paths:
            classes.append(folder)
    photos = list(find_dataset(classes).photos) if classes else []
    by_label = judged_by_label(card, (photo.label for photo in photos), "the model")
    for path in loose:
        label = imagenet_name(path.name)
        photos.append(LabelledPhoto(path, label if label in card.labels else UNKNOWN))
    if by_label:
        return Dataset(tuple(photos), card.labels)
    photos = [photo._replace(label=card.groups.get(photo.label, photo.label)) for photo in photos]
    return Dataset(tuple(photos), tuple(sorted(set(card.groups.values()))))


def split(dataset: Dataset, validation: float, seed: int) -> tuple[Dataset, Dataset]:
    """Return the training and the validation part, seeded. Raise DataError.

    `validation` (0..1) is the share for validation, of each label and origin. Of a small origin it
    is a fifth of its photos up to `FEW_FROM_ORIGIN`, because every origin has the same weight.
    """
    rng = np.random.default_rng(seed)
    held_back: set[int] = set()
    for label, total in dataset.counts().items():
        if total < 2:
            raise DataError(
                f"class '{label}' has one photo; "
                "expected at least two, one to train on and one to validate on"
            )
        parts: dict[Part, list[int]] = {}
        for index, photo in enumerate(dataset.photos):
            if photo.label == label:
                parts.setdefault(part_of(photo), []).append(index)
        for indices in parts.values():
            least = min(FEW_FROM_ORIGIN, len(indices) // 5)
            if len(parts) == 1 or len(indices) > 1:
                least = max(1, least)
            chosen = rng.permutation(len(indices))[: max(least, round(validation * len(indices)))]
            held_back.update(indices[i] for i in chosen)
        if held_back.isdisjoint(chain.from_iterable(parts.values())):
            held_back.add(next(iter(parts.values()))[0])
    training = tuple(photo for i, photo in enumerate(dataset.photos) if i not in held_back)
    validated = tuple(photo for i, photo in enumerate(dataset.photos) if i in held_back)
    return Dataset(training, dataset.labels), Dataset(validated, dataset.labels)


def choose_photos(
    dataset: Dataset,
    labels: tuple[str, ...],
    seed: int,
    check: Callable[[Dataset], Dataset] = lambda chosen: chosen,
) -> tuple[Dataset, Dataset]:
    """Return distinct photos to calibrate on, and others to verify on. Raise DataError.

    They are drawn at random, by `seed`, from all photos: a class has about its share of them.
    `labels` are those of the model. `check` may leave some of the chosen photos out.
    """
    unknown = sorted(set(dataset.labels) - set(labels))
    if unknown:
        raise DataError(
            f"class folder '{unknown[0]}' is no label of the model; expected {', '.join(labels)}"
        )
    order = np.random.default_rng(seed).permutation(len(dataset.photos))
    seen: set[str] = set()
    distinct = []
    for i in order:
        digest = hashlib.sha256(dataset.photos[i].path.read_bytes()).hexdigest()
        if digest not in seen:
            seen.add(digest)
            distinct.append(dataset.photos[i])
        if len(distinct) == CALIBRATION_PHOTOS + VERIFICATION_PHOTOS:
            break
    distinct = list(check(Dataset(tuple(distinct), dataset.labels)).photos)
    if len(distinct) < 2:
        raise DataError(
            "only one photo, or copies of one; "
            "expected some to calibrate on and others to verify on"
        )
    cut = min(CALIBRATION_PHOTOS, len(distinct) // 2)
    return Dataset(tuple(distinct[:cut]), labels), Dataset(tuple(distinct[cut:]), labels)


def check_photos(dataset: Dataset, recipe: InputRecipe, report: Callable[[str], None]) -> Dataset:
    """Return `dataset` without unreadable photos, and report each of them. Raise DataError."""

    def problem(photo: LabelledPhoto) -> str | None:
        try:
            decode(photo.path, at_least=(recipe.width, recipe.height))
        except PhotoError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(2) as pool:
        problems = list(pool.map(problem, dataset.photos))
    for text in filter(None, problems):
        report(f"left out: {text}")
    pairs = zip(dataset.photos, problems, strict=True)
    kept = Dataset(tuple(photo for photo, text in pairs if text is None), dataset.labels)
    before = dataset.counts()
    for label, count in kept.counts().items():
        if before[label] and not count:
            raise DataError(f"class '{label}' has no photo that can be read")
    return kept


def pixel_batches(
    photos: Sequence[Path], recipe: InputRecipe, size: int = 32
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the pixels as on the device, in batches (photos, height, width, 3)."""
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(photos), size):
            batch = photos[start : start + size]
            yield np.stack(list(pool.map(lambda path: read_pixels(path, recipe), batch)))


def repeats(dataset: Dataset) -> dict[Part, int]:
    """Return how often an epoch has the photos of each label and origin.

    A part with n times fewer photos than the largest is repeated about sqrt(n) times.
    """
    counts = Counter(map(part_of, dataset.photos))
    return {part: round((max(counts.values()) / count) ** 0.5) for part, count in counts.items()}


def balanced_order(dataset: Dataset, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return the indices of one epoch, shuffled, each as often as `repeats` returns."""
    times = repeats(dataset)
    order = np.repeat(
        np.arange(len(dataset.photos)), [times[part_of(photo)] for photo in dataset.photos]
    )
    return rng.permutation(order)
