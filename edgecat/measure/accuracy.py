"""How well a classifier answers on photos of known classes."""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from edgecat.card import ModelCard
from edgecat.classifier import Classification, Classifier
from edgecat.errors import DataError, PhotoError
from edgecat.labels import imagenet_name, label_of_folder
from edgecat.photo import Photo, find_photos

WORST = 100  # mistakes that are kept, so that memory does not grow with the photos
HISTOGRAM_BINS = 20  # of 0.05
CALIBRATION_BINS = 15  # as in Guo et al. 2017, arXiv 1706.04599


class System(Protocol):
    """What can be evaluated: anything that classifies photos as `edgecat.Classifier` does."""

    @property
    def name(self) -> str: ...  # as results show it

    @property
    def card(self) -> ModelCard: ...  # of which labels and groups count

    @property
    def engine(self) -> str: ...

    def classify_many(
        self,
        photos: Iterable[Photo],
        *,
        on_error: Callable[[Photo, PhotoError], None] | None = None,
    ) -> Iterator[Classification]:
        """In the order of `photos`; one that cannot be read is handed to `on_error` in its turn and left out."""
        ...

    def __enter__(self) -> System: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class LabelledPhoto(NamedTuple):
    path: Path
    label: str
    origin: str = ""  # where the photo comes from, such as the folder that was named


class Mistake(NamedTuple):
    photo: str  # its path
    label: str
    answer: str
    score: float  # of the answer, 0..1


@dataclass
class Tally:
    """What was answered on the photos of one class."""

    answers: Counter[str] = field(default_factory=Counter)
    scores: float = 0.0  # of the answers, summed
    histogram: list[int] = field(
        default_factory=lambda: [0] * HISTOGRAM_BINS
    )  # of the answers' scores

    def record(self, label: str) -> dict[str, Any]:
        """Return the JSON of this tally of the photos of `label`."""
        photos, right = self.answers.total(), self.answers[label]
        return {
            "photos": photos,
            "accuracy": round(right / photos, 5),
            "accuracy_interval": [round(limit, 5) for limit in wilson_interval(right, photos)],
            "answers": dict(sorted(self.answers.items())),
            "mean_confidence": round(self.scores / photos, 5),
            "confidence_histogram": self.histogram,
        }


@dataclass
class Evaluation:
    """What a system answered on photos of known labels: counts, whose size does not depend on the number of photos."""

    model: str  # name of the system
    engine: str
    file_bytes: int | None  # of its model file; None of what has none
    knows_neither: bool  # whether `neither` is among its answers
    groups: Mapping[str, str] = field(
        default_factory=dict
    )  # of its labels, where groups are compared; empty where labels are
    compared: Sequence[str] = ()  # the groups that the photos show, if not all of them
    classes: dict[str, Tally] = field(default_factory=dict)
    origins: dict[str, dict[str, Tally]] = field(default_factory=dict)  # origin -> class
    mistakes: int = 0
    failures: list[str] = field(
        default_factory=list
    )  # photos that could not be read, with the reason
    seconds: float = 0.0
    _neither: int = 0
    _right_by: dict[str, Counter[str]] = field(
        default_factory=dict
    )  # way of judging groups -> right answers of each class
    _bins: list[tuple[int, float]] = field(
        default_factory=lambda: [(0, 0.0)] * CALIBRATION_BINS
    )  # right answers, sum of scores
    _worst: list[tuple[float, int, Mistake]] = field(
        default_factory=list
    )  # a heap, the least sure on top

    def add(self, photo: LabelledPhoto, answer: Classification) -> None:
        """Count the answer to one photo."""
        label, said, score = photo.label, answer.label, answer.score
        if self.groups:
            label, said, score = self._group(label), answer.group, self._group_score(answer)
            for way, group in self._other_ways(answer):
                self._right_by.setdefault(way, Counter())[label] += group == label
        of_origin = self.origins.setdefault(photo.origin, {})
        for tally in (
            self.classes.setdefault(label, Tally()),
            of_origin.setdefault(label, Tally()),
        ):
            tally.answers[said] += 1
            tally.scores += score
            tally.histogram[min(int(score * HISTOGRAM_BINS), HISTOGRAM_BINS - 1)] += 1
        self._neither += answer.group == "neither"
        place = min(int(score * CALIBRATION_BINS), CALIBRATION_BINS - 1)
        right, scores = self._bins[place]
        self._bins[place] = (right + (said == label), scores + score)
        if said != label:
            self.mistakes += 1
            mistake = (
                score,
                -self.mistakes,
                Mistake(str(photo.path), label, said, round(score, 4)),
            )  # of equal scores the earlier first
            (heapq.heappush if len(self._worst) < WORST else heapq.heappushpop)(
                self._worst, mistake
            )

    def labels(self) -> list[str]:
        return sorted(self.classes)

    def photos(self, label: str | None = None) -> int:
        """How many were answered, in all or of one label."""
        return sum(
            tally.answers.total() for name, tally in self.classes.items() if label in (None, name)
        )

    def right(self, label: str | None = None) -> int:
        return sum(
            tally.answers[name] for name, tally in self.classes.items() if label in (None, name)
        )

    def accuracy(self, label: str | None = None) -> float:
        """Share of right answers, 0..1, of all photos or of those of one label."""
        return self.right(label) / self.photos(label)

    def accuracy_interval(self, label: str | None = None) -> tuple[float, float]:
        """95 % confidence interval of `accuracy`."""
        return wilson_interval(self.right(label), self.photos(label))

    def balanced_accuracy(self) -> float:
        """Mean of the classes' accuracies, whatever their numbers of photos."""
        return sum(map(self.accuracy, self.classes)) / len(self.classes)

    def rows(self) -> list[tuple[str, str, Tally]]:
        """Return (origin, label, tally) of each origin and each class in it."""
        return [
            (origin, label, tallies[label])
            for origin, tallies in self.origins.items()
            for label in sorted(tallies)
        ]

    def mean_over_folders(self) -> float:
        """Return the mean of the origins' balanced accuracies; every origin counts the same."""
        balanced = [
            sum(tally.answers[label] / tally.answers.total() for label, tally in tallies.items())
            / len(tallies)
            for tallies in self.origins.values()
        ]
        return sum(balanced) / len(balanced)

    def mean_confidence(self, label: str) -> float:
        """Mean score of the answers on photos of `label`."""
        return self.classes[label].scores / self.photos(label)

    def calibration_error(self) -> float:
        """Expected calibration error: how far, on average, the answers' scores are from the share of right ones among answers of that score."""
        return sum(abs(right - scores) for right, scores in self._bins) / self.photos()

    def neither_share(self) -> float | None:
        """Share of all photos answered `neither`; None of a system that does not know it."""
        return self._neither / self.photos() if self.knows_neither else None

    def ways(self) -> dict[str, dict[str, float]]:
        """What each way to find the group of a photo gives: way -> accuracy of each class; empty where labels are judged.

        "sums", by which all else here is counted: the group whose labels' scores add up to most. "sums among cat, dog": of the groups that the photos
        show alone, which is what a model that knows no other class does. "best label": the group of the label with the highest score.
        """
        if not self.groups:
            return {}
        others = {
            way: {label: right[label] / self.photos(label) for label in self.labels()}
            for way, right in self._right_by.items()
        }
        return {"sums": {label: self.accuracy(label) for label in self.labels()}, **others}

    def worst(self) -> list[Mistake]:
        """The mistakes with the highest scores, highest first, at most `WORST`."""
        return [mistake for _, _, mistake in sorted(self._worst, reverse=True)]

    def record(self) -> dict[str, Any]:
        """For JSON; keys that make no sense for this system are left out. At least one photo must have been answered."""
        classes = {label: self.classes[label].record(label) for label in self.labels()}
        origins = {
            origin: {label: tallies[label].record(label) for label in sorted(tallies)}
            for origin, tallies in self.origins.items()
        }
        folders = {"mean_over_folders": round(self.mean_over_folders(), 5), "origins": origins}
        neither, ways = (
            self.neither_share(),
            {
                way: {label: round(share, 5) for label, share in of.items()}
                for way, of in self.ways().items()
            },
        )
        return {
            "model": self.model,
            "engine": self.engine,
            "file_bytes": self.file_bytes,
            "photos": self.photos(),
            "accuracy": round(self.accuracy(), 5),
            "accuracy_interval": [round(limit, 5) for limit in self.accuracy_interval()],
            "balanced_accuracy": round(self.balanced_accuracy(), 5),
            "calibration_error": round(self.calibration_error(), 5),
            **({} if neither is None else {"neither_share": round(neither, 5)}),
            **(folders if len(origins) > 1 else {}),
            "classes": classes,
            **({"ways": ways} if ways else {}),
            "mistakes": self.mistakes,
            "worst": [mistake._asdict() for mistake in self.worst()],
            "failures": self.failures,
            "seconds": round(self.seconds, 2),
        }

    def _group(self, label: str) -> str:
        return self.groups.get(label, label)

    def _other_ways(self, answer: Classification) -> Iterator[tuple[str, str]]:
        """The group of an answer by each way but that of `answer.group`."""
        if self.compared:
            sums = dict.fromkeys(self.compared, 0.0)
            for label, score in answer.scores:
                if self._group(label) in sums:
                    sums[self._group(label)] += score
            yield f"sums among {', '.join(self.compared)}", max(sums, key=sums.__getitem__)
        yield "best label", self._group(answer.label)

    def _group_score(self, answer: Classification) -> float:
        """Sum of the scores of the labels of the answer's group; for "unsure", which is no group, the best label's."""
        of_group = [score for label, score in answer.scores if self._group(label) == answer.group]
        return min(1.0, sum(of_group)) if of_group else answer.score


def find_labelled_photos(folders: Sequence[str]) -> Iterator[LabelledPhoto]:
    """Photos of all `folders`: each a folder of class folders, or LABEL=FOLDER for the photos of one class. Raises DataError.

    A folder of photos alone will do where their names begin with ImageNet's numbers, such as n02123045_tabby.JPEG.
    """
    origins = _names_of_origins(folders)
    for given in folders:
        loose = loose_photos(given)
        origin = origins[given]
        named = [
            LabelledPhoto(path, label, origin)
            for path in loose
            if (label := imagenet_name(path.name))
        ]
        if named and len(named) == len(loose):
            yield from named
            continue
        for label, folder in _class_folders(given):
            photos = find_photos(folder, recursive=True)
            if not photos:
                raise DataError(
                    f"{folder}: no photos of class '{label}'; add some or remove the folder"
                )
            yield from (LabelledPhoto(path, label, origin) for path in photos)


def _names_of_origins(folders: Sequence[str]) -> dict[str, str]:
    """Return the shortest end of each folder's path that tells it from the others.

    Of LABEL=FOLDER, at least the last two names: `neither=data/neither/test` -> `neither/test`.
    """
    paths = {given: _path_of(given).absolute().parts[1:] for given in folders}
    names = {}
    for given, parts in paths.items():
        length = 1 if Path(given).exists() else 2
        while length < len(parts) and any(
            other[-length:] == parts[-length:] for other in paths.values() if other != parts
        ):
            length += 1
        names[given] = "/".join(parts[-length:])
    return names


def _path_of(given: str) -> Path:
    """Return the folder of `given`, which is FOLDER or LABEL=FOLDER."""
    _, equals, folder = given.partition("=")
    return Path(folder) if equals and not Path(given).exists() else Path(given)


def loose_photos(given: str) -> list[Path]:
    """Photos of a folder without class folders; none where it has such, or is given as LABEL=FOLDER."""
    path = Path(given)
    return find_photos(path) if path.is_dir() and not _folders_in(path) else []


def evaluate(
    system: System,
    photos: Sequence[LabelledPhoto],
    on_step: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Classify `photos` and count: by label, or by group where some photos' labels are groups of the model and no labels.

    One that cannot be read is listed among the failures. Raises DataError.
    """
    card = system.card
    by_label = judged_by_label(card, (photo.label for photo in photos), system.name)
    groups = {card.groups.get(label, label) for label in card.labels}
    compared = sorted({card.groups.get(photo.label, photo.label) for photo in photos})
    result = Evaluation(
        model=system.name,
        engine=system.engine,
        file_bytes=system.path.stat().st_size if isinstance(system, Classifier) else None,
        knows_neither="neither" in groups,
        groups={} if by_label else card.groups,
        compared=compared if len(compared) < len(groups) else (),
    )
    waiting = iter(photos)
    done = 0

    def take() -> LabelledPhoto:
        nonlocal done
        done += 1
        on_step(done)
        return next(waiting)

    def fail(_: Photo, error: PhotoError) -> None:
        take()
        result.failures.append(str(error))

    began = time.perf_counter()
    for answer in system.classify_many((photo.path for photo in photos), on_error=fail):
        result.add(take(), answer)
    result.seconds = time.perf_counter() - began
    return result


def wilson_interval(right: int, of: int) -> tuple[float, float]:
    """95 % confidence interval of the share right / of (Wilson 1927), which holds near 0 and 1 and for few photos too."""
    z = 1.959964
    share, squared = right / of, z * z / of
    centre, half = share + squared / 2, z * math.sqrt((share * (1 - share) + squared / 4) / of)
    return max(0.0, (centre - half) / (1 + squared)), min(1.0, (centre + half) / (1 + squared))


def judged_by_label(card: ModelCard, labels: Iterable[str], model: str) -> bool:
    """Whether photos of these labels show which of a model's labels is right, or only which of its groups. Raises DataError."""
    given = set(labels)
    groups = sorted({card.groups.get(label, label) for label in card.labels})
    unknown = sorted(given - {*card.labels, *groups})
    if unknown:
        more = f", or any of its {len(card.labels)} labels" if card.groups else ""
        raise DataError(
            f"class folder '{unknown[0]}' is no label of {model}; expected {', '.join(groups)}{more}"
        )
    return given <= set(card.labels)


def _class_folders(given: str) -> list[tuple[str, Path]]:
    label, equals, folder = given.partition("=")
    if equals and not Path(given).exists():
        return [(label, _folder(folder))]
    path = _folder(given)
    classes = _folders_in(path)
    if not classes:
        raise DataError(
            f"{path}: no class folders; expected one folder of photos for each class, such as cats/ and dogs/, or LABEL=FOLDER"
        )
    return [(label_of_folder(child.name), child) for child in classes]


def _folders_in(path: Path) -> list[Path]:
    return sorted(
        child for child in path.iterdir() if child.is_dir() and not child.name.startswith(".")
    )


def _folder(name: str) -> Path:
    path = Path(name)
    if not path.is_dir():
        raise DataError(
            f"{path}: {'not a folder' if path.exists() else 'no such folder'}; expected a folder of photos"
        )
    return path
