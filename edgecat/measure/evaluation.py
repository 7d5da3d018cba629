"""What a system answered on photos of known classes, as counts and their statistics."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from edgecat.classifier import Classification
from edgecat.measure.labelled_photos import LabelledPhoto

WORST = 100  # mistakes that are kept, so that memory does not grow with the photos
HISTOGRAM_BINS = 20  # of 0.05
CALIBRATION_BINS = 15  # as in Guo et al. 2017, arXiv 1706.04599


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
    """What a system answered on photos of known labels.

    It holds counts: its size does not depend on the number of photos.
    """

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
        """Return the number of answered photos, of all labels or of one."""
        return sum(
            tally.answers.total() for name, tally in self.classes.items() if label in (None, name)
        )

    def right(self, label: str | None = None) -> int:
        return sum(
            tally.answers[name] for name, tally in self.classes.items() if label in (None, name)
        )

    def accuracy(self, label: str | None = None) -> float:
        """Return the share of right answers, 0..1, for all photos or those of one label."""
        return self.right(label) / self.photos(label)

    def accuracy_interval(self, label: str | None = None) -> tuple[float, float]:
        """Return the 95 % confidence interval of `accuracy`."""
        return wilson_interval(self.right(label), self.photos(label))

    def balanced_accuracy(self) -> float:
        """Return the mean of the classes' accuracies; every class counts the same."""
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
        """Return the mean score of the answers on photos of `label`."""
        return self.classes[label].scores / self.photos(label)

    def calibration_error(self) -> float:
        """Return the expected calibration error.

        It is the mean distance between the score of answers and the share of right ones among
        answers of about that score.
        """
        return sum(abs(right - scores) for right, scores in self._bins) / self.photos()

    def neither_share(self) -> float | None:
        """Return the share of answers `neither`; None if the system does not know it."""
        return self._neither / self.photos() if self.knows_neither else None

    def ways(self) -> dict[str, dict[str, float]]:
        """Return the accuracy of each class by each rule that finds the group of an answer.

        The result is empty if labels are judged. The rules are:

        "sums": the group with the largest sum of its labels' scores. All else is counted by it.
        "sums among cat, dog": the same among the groups that the photos show.
        "best label": the group of the label with the highest score.
        """
        if not self.groups:
            return {}
        others = {
            way: {label: right[label] / self.photos(label) for label in self.labels()}
            for way, right in self._right_by.items()
        }
        return {"sums": {label: self.accuracy(label) for label in self.labels()}, **others}

    def worst(self) -> list[Mistake]:
        """Return the mistakes with the highest scores, highest first, at most `WORST`."""
        return [mistake for _, _, mistake in sorted(self._worst, reverse=True)]

    def record(self) -> dict[str, Any]:
        """Return the JSON, without the keys that do not apply to this system.

        At least one photo must have been answered.
        """
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
        """Yield the other rules, each with the group that it finds."""
        if self.compared:
            sums = dict.fromkeys(self.compared, 0.0)
            for label, score in answer.scores:
                if self._group(label) in sums:
                    sums[self._group(label)] += score
            yield f"sums among {', '.join(self.compared)}", max(sums, key=sums.__getitem__)
        yield "best label", self._group(answer.label)

    def _group_score(self, answer: Classification) -> float:
        """Return the sum of the scores of the labels of the answer's group.

        "unsure" is no group: its score is the best label's.
        """
        of_group = [score for label, score in answer.scores if self._group(label) == answer.group]
        return min(1.0, sum(of_group)) if of_group else answer.score


def wilson_interval(right: int, of: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of the share right / of (Wilson 1927).

    It holds near 0 and 1, and for few photos.
    """
    z = 1.959964
    share, squared = right / of, z * z / of
    centre, half = share + squared / 2, z * math.sqrt((share * (1 - share) + squared / 4) / of)
    return max(0.0, (centre - half) / (1 + squared)), min(1.0, (centre + half) / (1 + squared))
