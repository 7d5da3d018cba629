"""Class folders -> labelled photos, the training and validation parts, and augmented batches."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

from edgecat.errors import DataError, PhotoError
from edgecat.evaluation import LabelledPhoto, find_labelled_photos, judged_by_label, loose_photos
from edgecat.labels import imagenet_name
from edgecat.model_file import ModelCard
from edgecat.photo import InputRecipe, Pixels, decode, read_pixels, resize

CALIBRATION_PHOTOS = 500
VERIFICATION_PHOTOS = 1000
FEW_PHOTOS = 100  # fewer calibrate badly
UNKNOWN = ""  # the label of a photo that may show anything
IMBALANCE = 10  # times: a class this much larger than another is worth a warning


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
        """sha256 over every photo's label and content, whatever the files' names and order."""
        lines = sorted(f"{label} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path, label in self.photos)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def warnings(self) -> list[str]:
        counts = self.counts()
        small, large = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        if counts[large] < IMBALANCE * counts[small]:
            return []
        return [f"'{large}' has {counts[large]} photos, '{small}' only {counts[small]}: the model will lean to '{large}'; add photos of '{small}'"]


def find_dataset(folders: Sequence[str], exclude: Iterable[str] = ()) -> Dataset:
    """Photos of all `folders`: each a folder of class folders, or LABEL=FOLDER for the photos of one class.

    `exclude` names files to leave out. Raises DataError.
    """
    excluded = set(exclude)
    photos = [photo for photo in find_labelled_photos(folders) if photo.path.name not in excluded]
    labels = tuple(sorted({photo.label for photo in photos}))
    if len(labels) < 2:
        found = f"only one class, '{labels[0]}'" if labels else "no photos"
        raise DataError(f"{', '.join(folders)}: {found}; expected one folder of photos for each of at least two classes, such as cats/ and dogs/")
    return Dataset(tuple(photos), labels)


def find_photos_for(card: ModelCard, folders: Sequence[str]) -> Dataset:
    """Photos to calibrate and verify a finished model on, as `find_dataset` takes them, or folders of photos of any kind.

    The dataset's labels are the model's, or its groups where the class folders name these. Raises DataError.
    """
    loose = [path for folder in folders for path in loose_photos(folder)]
    classes = [folder for folder in folders if not loose_photos(folder)]
    photos = list(find_dataset(classes).photos) if classes else []
    by_label = judged_by_label(card, (photo.label for photo in photos), "the model")
    photos += [LabelledPhoto(path, label if (label := imagenet_name(path.name)) in card.labels else UNKNOWN) for path in loose]
    if by_label:
        return Dataset(tuple(photos), card.labels)
    photos = [LabelledPhoto(path, card.groups.get(label, label)) for path, label in photos]
    return Dataset(tuple(photos), tuple(sorted(set(card.groups.values()))))


def split(dataset: Dataset, validation: float, seed: int) -> tuple[Dataset, Dataset]:
    """The training and the validation part: `validation` (0..1) of each class, at least one photo, seeded."""
    rng = np.random.default_rng(seed)
    training: list[LabelledPhoto] = []
    held_back: list[LabelledPhoto] = []
    for label in dataset.labels:
        photos = [photo for photo in dataset.photos if photo.label == label]
        if len(photos) < 2:
            raise DataError(f"class '{label}' has one photo; expected at least two, one to train on and one to validate on")
        order = rng.permutation(len(photos))
        cut = max(1, round(validation * len(photos)))
        held_back += [photos[i] for i in sorted(order[:cut])]
        training += [photos[i] for i in sorted(order[cut:])]
    return Dataset(tuple(training), dataset.labels), Dataset(tuple(held_back), dataset.labels)


def choose_photos(dataset: Dataset, labels: tuple[str, ...], seed: int, check: Callable[[Dataset], Dataset] = lambda chosen: chosen) -> tuple[Dataset, Dataset]:
    """Distinct photos to calibrate on and others to verify on, the same share of each class, seeded. Raises DataError.

    `check` may leave some of the chosen photos out.
    """
    unknown = sorted(set(dataset.labels) - set(labels))
    if unknown:
        raise DataError(f"class folder '{unknown[0]}' is no label of the model; expected {', '.join(labels)}")
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
        raise DataError("only one photo, or copies of one; expected some to calibrate on and others to verify on")
    cut = min(CALIBRATION_PHOTOS, len(distinct) // 2)
    return Dataset(tuple(distinct[:cut]), labels), Dataset(tuple(distinct[cut:]), labels)


def check_photos(dataset: Dataset, recipe: InputRecipe, report: Callable[[str], None]) -> Dataset:
    """`dataset` without the photos that cannot be read, each of which is reported. Raises DataError."""

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
    kept = Dataset(tuple(photo for photo, text in zip(dataset.photos, problems, strict=True) if text is None), dataset.labels)
    before = dataset.counts()
    for label, count in kept.counts().items():
        if before[label] and not count:
            raise DataError(f"class '{label}' has no photo that can be read")
    return kept


def pixel_batches(photos: Sequence[Path], recipe: InputRecipe, size: int = 32) -> Iterator[npt.NDArray[np.uint8]]:
    """The photos' pixels as the device reads them, in batches (photos, height, width, 3)."""
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(photos), size):
            yield np.stack(list(pool.map(lambda path: read_pixels(path, recipe), photos[start : start + size])))


def normalise(pixels: npt.NDArray[np.uint8], recipe: InputRecipe) -> npt.NDArray[np.float32]:
    """What the Keras model reads: (pixel - mean) / std, float32, in the shape of `pixels`."""
    return recipe.normalise(pixels)


def repeats(dataset: Dataset) -> dict[str, int]:
    """How often a photo of each class comes in an epoch: about sqrt(n) times where the class is n times smaller than the largest."""
    counts = dataset.counts()
    return {label: max(1, round((max(counts.values()) / count) ** 0.5)) for label, count in counts.items()}


def balanced_order(dataset: Dataset, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Indices of one epoch, shuffled, each as often as `repeats` says."""
    times = repeats(dataset)
    order = np.repeat(np.arange(len(dataset.photos)), [times[photo.label] for photo in dataset.photos])
    return rng.permutation(order)


def augment(photo: Path, recipe: InputRecipe, rng: np.random.Generator, strength: float = 1.0) -> Pixels:
    """Pixels of a random variant of `photo`; of `strength` 0 it is mirrored at most.

    Training photos that were squashed, scaled down and compressed twice have lost their shape and
    sharpness; photos in the world have not. So every class is seen with both: shape, sharpness
    and compression vary at random, and cannot tell one class from another.
    """
    image = decode(photo, at_least=(2 * recipe.width, 2 * recipe.height))

    def happens(share: float) -> bool:
        return bool(rng.random() < share * strength)

    # Crop: half of the area to all of it (most often much), aspect ratio changed by up to 1.5.
    area = image.width * image.height * (1 - 0.5 * strength * rng.random() ** 2)
    ratio = image.width / image.height * np.exp(strength * rng.uniform(-0.4, 0.4))
    width = min(image.width, round(float((area * ratio) ** 0.5)))
    height = min(image.height, round(float((area / ratio) ** 0.5)))
    left = int(rng.integers(0, image.width - width + 1))
    top = int(rng.integers(0, image.height - height + 1))
    image = image.crop((left, top, left + width, top + height))
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if happens(0.25):
        image = image.rotate(float(rng.uniform(-15, 15)), Image.Resampling.BILINEAR, fillcolor=_mean_colour(image))
    if happens(0.15):  # smaller in the picture
        canvas = Image.new("RGB", (round(image.width * rng.uniform(1.1, 1.7)), round(image.height * rng.uniform(1.1, 1.7))), _mean_colour(image))
        canvas.paste(image, (int(rng.integers(0, canvas.width - image.width + 1)), int(rng.integers(0, canvas.height - image.height + 1))))
        image = canvas
    if happens(0.6):  # sharpness: fewer pixels than the model wants, blurred, or sharpened
        kind = rng.random()
        if kind < 0.42:
            side = int(rng.integers(80, 176))
            image = image.resize((side, side), Image.Resampling.BILINEAR)
        elif kind < 0.58:
            image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 1.6))))
        else:
            image = image.filter(ImageFilter.UnsharpMask(float(rng.uniform(0.8, 2.0)), int(rng.integers(40, 180)), 0))
    if happens(0.3):
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=int(rng.integers(30, 95)))
        image = Image.open(encoded)
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        if happens(0.6):
            image = change(image).enhance(float(rng.uniform(0.7, 1.35)))
    if happens(0.05):
        image = image.convert("L").convert("RGB")
    return resize(image, (recipe.width, recipe.height))


def _mean_colour(image: Image.Image) -> tuple[int, int, int]:
    red, green, blue = image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))  # type: ignore[misc]
    return int(red), int(green), int(blue)
