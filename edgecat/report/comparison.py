"""The comparison of several systems: what it holds, and its table."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edgecat.report.history import History
from edgecat.report.records import Record

MANY_CLASSES = 12  # with more, neither the table nor a plot can be read

# What the student report says of its own systems: (system, accuracy, accuracy on cats, on dogs,
# in words). On Kaggle's cats and dogs, 8,000 photos to train and 2,000 to test.
_CLAIMED = (
    ("Home-made CNN", 0.99, None, None, "99 % by its own count, and wrong on cats"),
    ("ResNet50, ImageNet weights", None, 0.80, 0.80, "80 % of cats, 80 % of dogs"),
    ("ResNet50, transfer", None, None, None, "never finished"),
    ("MobileNet, ImageNet weights", None, 0.75, 0.90, "75 % of cats, 90 % of dogs"),
    (
        "Google Cloud Vision API",
        None,
        1.0,
        1.0,
        "100 of 100 cats, with more than 97 % confidence; 100 of 100 dogs, with 90 to 99 %",
    ),
)
CLAIMS = [
    {"system": name, "accuracy": share, "classes": {"cat": cats, "dog": dogs}, "said": words}
    for name, share, cats, dogs, words in _CLAIMED
]

# Ways to judge groups that `edgecat evaluate` reports beside the largest sum.
_WAYS = {
    "best label": "the group of the label with the highest score",
    "sums among": "the group with the largest sum of those that the photos show",
}


@dataclass(frozen=True)
class Comparison:
    """What a report shows. `systems` are records as `system` returns them."""

    systems: Sequence[Record]
    made_by: Record
    histories: Sequence[History] = ()
    photos: Collection[str] = field(default=(), repr=False)  # paths that may be shown

    @property
    def labels(self) -> list[str]:
        return sorted({label for system in self.systems for label in system["classes"]})

    @property
    def claims(self) -> Sequence[Record]:
        """The student report's claims, if cats and dogs are compared."""
        return CLAIMS if {"cat", "dog"} <= {*self.labels} else []

    @property
    def numbered(self) -> list[tuple[str, Record]]:
        """The systems, each with its number and name."""
        return [
            (f"{number}. {record['model']}", record)
            for number, record in enumerate(self.systems, 1)
        ]


class Cell(NamedTuple):
    """A cell of the table."""

    text: str
    value: float | None = None  # as in report.json; None if the cell is no number
    note: str = ""


NOTHING = Cell("-")
NOT_TIMED = Cell("-", note="not timed")


class Table(NamedTuple):
    """The table. In a row that is shorter than the headings, the last cell spans the rest."""

    headings: list[str]
    rows: list[list[Cell]]  # of the systems
    claims: list[list[Cell]]


def table(comparison: Comparison) -> Table:
    """Return the table of a comparison."""
    labels = comparison.labels if len(comparison.labels) <= MANY_CLASSES else []
    headings = [
        "System",
        "Accuracy",
        *labels,
        "Balanced accuracy",
        "Calibration error",
        "Model size",
        "Photo to answer",
        "Engine alone",
        "A million photos",
        "Needs network",
        "Measured on",
    ]
    rows = []
    for number, (name, record) in enumerate(comparison.numbered, 1):
        rows.append(_row(name, record, labels))
        if labels:
            rows += _other_ways(number, record, labels)
    return Table(headings, rows, [_claim(claim, labels) for claim in comparison.claims])


def _row(name: str, record: Record, labels: Sequence[str]) -> list[Cell]:
    cost, size = record["cost_of_a_million_usd"], record["file_bytes"]
    of_classes = [record["classes"].get(label) for label in labels]
    return [
        Cell(name, note=record["engine"]),
        _share(record["accuracy"], record["accuracy_interval"]),
        *(
            _share(known["accuracy"], known["accuracy_interval"]) if known else NOTHING
            for known in of_classes
        ),
        _share(record["balanced_accuracy"]),
        _share(record["calibration_error"]),
        NOTHING if record["needs_network"] else Cell(f"{size / 1e6:.2f} MB", size),
        *_latencies(record["latency_ms"]),
        Cell(f"${cost:,.2f}", cost),
        Cell("yes" if record["needs_network"] else "no"),
        Cell(f"{record['photos']:,} photos", record["photos"], ", ".join(record["data"])),
    ]


def _latencies(times: Record | None) -> list[Cell]:
    if not times:
        return [NOT_TIMED, NOT_TIMED]
    return [Cell(f"{times[part]:.2f} ms", times[part]) for part in ("photo", "engine")]


def _claim(claim: Record, labels: Sequence[str]) -> list[Cell]:
    shares = [claim["accuracy"], *(claim["classes"].get(label) for label in labels)]
    return [
        Cell(claim["system"], note="student report's own claim"),
        *(NOTHING if share is None else Cell(f"{share:.0%}", share) for share in shares),
        Cell(claim["said"]),
    ]


def _other_ways(number: int, record: Record, labels: Sequence[str]) -> Iterator[list[Cell]]:
    """Yield a row for each other way to judge groups; its last cell explains the way."""
    photos = {label: known["photos"] for label, known in record["classes"].items()}
    for way, shares in record.get("ways", {}).items():
        explained = next((words for name, words in _WAYS.items() if way.startswith(name)), None)
        if explained:
            right = sum(shares[label] * photos[label] for label in photos) / sum(photos.values())
            yield [
                Cell(f"{number}. by {way}"),
                _share(right),
                *(_share(shares[label]) if label in shares else NOTHING for label in labels),
                Cell(explained),
            ]


def _share(value: float, interval: Sequence[float] | None = None) -> Cell:
    note = f"{100 * interval[0]:.1f} to {interval[1]:.1%}" if interval else ""
    return Cell(f"{value:.2%}", value, note)


def source(record: Record) -> str:
    """Return the data and the command of a record."""
    return f"{record['photos']:,} photos of {', '.join(record['data'])}: {record['command']}"


def sources(comparison: Comparison) -> dict[str, list[int]]:
    """Return each source with the numbers of its systems."""
    numbers: dict[str, list[int]] = {}
    for number, record in enumerate(comparison.systems, 1):
        numbers.setdefault(source(record), []).append(number)
    return numbers
