"""Accuracy of a classifier over class folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from edgecat.classifier import Classifier
from edgecat.errors import DataError, PhotoError
from edgecat.labels import imagenet_name, label_of_folder
from edgecat.model_file import ModelCard
from edgecat.photo import Photo, find_photos


class LabelledPhoto(NamedTuple):
    path: Path
    label: str


@dataclass
class Evaluation:
    """What a classifier answered on photos of known labels."""

    model: str
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)  # (label, answer) -> photos
    mistakes: list[tuple[str, str, str, float]] = field(default_factory=list)  # photo, label, answer, its score
    failures: list[str] = field(default_factory=list)  # photos that could not be read, with the reason

    def photos(self, label: str | None = None) -> int:
        return sum(count for (right, _), count in self.answers.items() if label in (None, right))

    def accuracy(self, label: str | None = None) -> float:
        """Share of right answers, 0..1, of all photos or of those of one label."""
        return sum(count for (right, answer), count in self.answers.items() if right == answer and label in (None, right)) / self.photos(label)

    def labels(self) -> list[str]:
        return sorted({right for right, _ in self.answers})

    def record(self) -> dict[str, Any]:
        """For --json and the model's history."""
        classes = {
            label: {
                "photos": self.photos(label),
                "accuracy": round(self.accuracy(label), 5),
                "answers": {answer: count for (right, answer), count in sorted(self.answers.items()) if right == label},
            }
            for label in self.labels()
        }
        wrong = [dict(zip(("photo", "label", "answer", "score"), mistake, strict=True)) for mistake in sorted(self.mistakes, key=lambda mistake: -mistake[3])]
        return {
            "model": self.model,
            "photos": self.photos(),
            "accuracy": round(self.accuracy(), 5),
            "classes": classes,
            "mistakes": wrong,
            "failures": self.failures,
        }


def find_labelled_photos(folders: Sequence[str]) -> Iterator[LabelledPhoto]:
    """Photos of all `folders`: each a folder of class folders, or LABEL=FOLDER for the photos of one class. Raises DataError.

    A folder of photos alone will do where their names begin with ImageNet's numbers, such as n02123045_tabby.JPEG.
    """
    for given in folders:
        loose = loose_photos(given)
        named = [LabelledPhoto(path, label) for path in loose if (label := imagenet_name(path.name))]
        if named and len(named) == len(loose):
            yield from named
            continue
        for label, folder in _class_folders(given):
            photos = find_photos(folder, recursive=True)
            if not photos:
                raise DataError(f"{folder}: no photos of class '{label}'; add some or remove the folder")
            yield from (LabelledPhoto(path, label) for path in photos)


def loose_photos(given: str) -> list[Path]:
    """Photos of a folder without class folders; none where it has such, or is given as LABEL=FOLDER."""
    path = Path(given)
    return find_photos(path) if path.is_dir() and not _folders_in(path) else []


def evaluate(classifier: Classifier, photos: Sequence[LabelledPhoto], on_step: Callable[[int], None] = lambda done: None) -> Evaluation:
    """Classify `photos` and count: by label, or by group where some photos' labels are groups of the model and no labels.

    One that cannot be read is listed among the failures. Raises DataError.
    """
    groups = classifier.card.groups
    by_label = judged_by_label(classifier.card, (photo.label for photo in photos), classifier.path.name)
    result = Evaluation(classifier.path.name)
    waiting = iter(photos)

    def fail(_: Photo, error: PhotoError) -> None:
        next(waiting)
        result.failures.append(str(error))

    for done, answer in enumerate(classifier.classify_many((photo.path for photo in photos), on_error=fail), 1):
        path, label = next(waiting)
        label, said = (label, answer.label) if by_label else (groups.get(label, label), answer.group)
        result.answers[label, said] += 1
        if said != label:
            result.mistakes.append((str(path), label, said, round(answer.score, 4)))
        on_step(done)
    return result


def judged_by_label(card: ModelCard, labels: Iterable[str], model: str) -> bool:
    """Whether photos of these labels show which of a model's labels is right, or only which of its groups. Raises DataError."""
    given = set(labels)
    groups = sorted({card.groups.get(label, label) for label in card.labels})
    unknown = sorted(given - {*card.labels, *groups})
    if unknown:
        more = f", or any of its {len(card.labels)} labels" if card.groups else ""
        raise DataError(f"class folder '{unknown[0]}' is no label of {model}; expected {', '.join(groups)}{more}")
    return given <= set(card.labels)


def _class_folders(given: str) -> list[tuple[str, Path]]:
    label, equals, folder = given.partition("=")
    if equals and not Path(given).exists():
        return [(label, _folder(folder))]
    path = _folder(given)
    classes = _folders_in(path)
    if not classes:
        raise DataError(f"{path}: no class folders; expected one folder of photos for each class, such as cats/ and dogs/, or LABEL=FOLDER")
    return [(label_of_folder(child.name), child) for child in classes]


def _folders_in(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def _folder(name: str) -> Path:
    path = Path(name)
    if not path.is_dir():
        raise DataError(f"{path}: {'not a folder' if path.exists() else 'no such folder'}; expected a folder of photos")
    return path
