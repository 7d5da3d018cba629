"""The comparison of several systems as one page: a table, plots and the mistakes, of what was evaluated and timed."""

from __future__ import annotations

import csv
import html
import json
import math
import platform
import re
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgecat.card import typed
from edgecat.classifier import Classifier
from edgecat.cloud.request import dollars_of_a_million
from edgecat.errors import DataError, PhotoError
from edgecat.measure import board
from edgecat.measure.latency import STAGES, clocked, photo_steps
from edgecat.report import plots as drawing
from edgecat.report.gallery import thumbnail

if TYPE_CHECKING:
    pass

Record = Mapping[str, Any]  # of one system: what `edgecat evaluate --json` prints in one line

MANY_CLASSES = 12  # of more, neither the table nor a plot can be read
MEASUREMENTS = 50  # of each system's latency
GALLERY = 36  # photos in all
THUMBNAIL = 160  # pixels of the longer side
BINS = 20  # of the confidence histograms
_EXPECTED = "the output of: edgecat evaluate DATA --json"

# What the student report says of its own systems; on Kaggle's cats and dogs, 8,000 photos to train and 2,000 to test.
_CLAIMED = (  # system, accuracy, of cats, of dogs, in words
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
    {"system": name, "accuracy": share, "classes": {"cat": cats, "dog": dogs}, "said": said}
    for name, share, cats, dogs, said in _CLAIMED
]

# A record's parts: int stands for a whole number, float for one from 0 to 1, [x] for any number of x, (x, y) for these two.
_RIGHT = {"photos": int, "accuracy": float, "accuracy_interval": (float, float)}
_CLASS = {
    **_RIGHT,
    "answers": {str: int},
    "mean_confidence": float,
    "confidence_histogram": (int,) * BINS,
}
_RECORD = {
    **{"model": str, "engine": str, "data": [str], "command": str},
    **{**_RIGHT, "balanced_accuracy": float, "calibration_error": float},
    **{
        "classes": {str: _CLASS},
        "mistakes": int,
        "worst": [{"photo": str, "label": str, "answer": str, "score": float}],
    },
}
_KINDS = {str: "text", int: "a whole number", float: "a number from 0 to 1"}


class History(NamedTuple):
    """The epochs of a training run."""

    name: str  # of the run folder
    rows: list[dict[str, float]]  # one an epoch: losses and accuracies
    source: str  # data and command, as far as the run folder tells


class Cell(NamedTuple):
    text: str
    value: float | None = None  # as in report.json; None where the cell is no number
    note: str = ""


NOTHING = Cell("-")
NOT_TIMED = Cell("-", note="not timed")


class Plot(NamedTuple):
    title: str
    image: str  # data URI
    alt: str
    source: str  # data and command


@dataclass(frozen=True)
class Comparison:
    """What a report shows. `systems` are records with what `system` adds to them."""

    systems: Sequence[Record]
    made_by: Record
    histories: Sequence[History] = ()
    photos: Collection[str] = field(default=(), repr=False)  # that may be shown as thumbnails

    @property
    def labels(self) -> list[str]:
        return sorted({label for system in self.systems for label in system["classes"]})

    @property
    def claims(self) -> Sequence[Record]:
        """Only where it is cats and dogs that are compared."""
        return CLAIMS if {"cat", "dog"} <= {*self.labels} else []


# Records


def read_records(path: Path) -> Iterator[Record]:
    """Records of `edgecat evaluate --json`, one a line. Raises DataError with the number of a line that is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: {getattr(error, 'strerror', None) or 'not text'}; expected {_EXPECTED}"
        ) from None
    if not any(map(str.strip, lines)):
        raise DataError(f"{path}: empty; expected {_EXPECTED}")
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                record = json.loads(line)
                misfit = (
                    _misfit(record, _RECORD, "")
                    or _misfit(record.get("file_bytes") or 0, int, "file_bytes")
                    or _misfit_of_ways(record)
                )
            except json.JSONDecodeError as error:
                misfit = f"not JSON ({error.msg})"
            if misfit:
                raise DataError(f"{path}, line {number}: {misfit}; expected {_EXPECTED}")
            yield record


def _misfit(value: Any, shape: Any, where: str) -> str | None:
    """What of a value is not as its shape says; None where all is."""
    if isinstance(shape, dict):
        if not isinstance(value, dict) or not value:
            return f"'{where}' is no object" if where else "no JSON object"
        parts = [(key, shape.get(str) or shape[key]) for key in (value if str in shape else shape)]
        return next(
            (
                misfit
                for key, kind in parts
                if (misfit := f"no '{key}'" if key not in value else _misfit(value[key], kind, key))
            ),
            None,
        )
    if isinstance(shape, (list, tuple)):
        if not isinstance(value, list) or (isinstance(shape, tuple) and len(value) != len(shape)):
            return f"'{where}' is no list" + (
                f" of {len(shape)}" if isinstance(shape, tuple) else ""
            )
        return next((misfit for item in value if (misfit := _misfit(item, shape[0], where))), None)
    fits = (
        isinstance(value, str)
        if shape is str
        else type(value) in (int, shape) and 0 <= value <= (1 if shape is float else math.inf)
    )
    return None if fits else f"'{where}' is not {_KINDS[shape]}"


def read_history(path: Path) -> History:
    """A run folder of `edgecat train`, or the history.csv in it. Raises DataError."""
    path = path / "history.csv" if path.is_dir() else path
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [
                {key: float(value) for key, value in row.items()} for row in csv.DictReader(file)
            ]
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror}; expected a run folder of edgecat train, or the history.csv in it"
        ) from None
    except (ValueError, TypeError, csv.Error):
        rows = []
    if not rows or not {"epoch", "training_loss", "validation_loss", "accuracy"} <= rows[0].keys():
        raise DataError(
            f"{path}: no training history; expected a run folder of edgecat train, or the history.csv in it"
        )
    return History(path.resolve().parent.name, rows, _training(path.with_name("training.json")))


def _training(path: Path) -> str:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        asked = dict(record["training"])
        words = ["edgecat", "train", asked.pop("architecture"), *asked.pop("data")]
        for name, value in asked.items():
            given = value if isinstance(value, list) else [value]
            words += [
                word
                for item in given
                if item is not None
                for word in (f"--{name.replace('_', '-')}", str(item))
            ]
        return f"{sum(record['data']['photos'].values()):,} photos, {typed(words)}"
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return "history.csv alone, without the training.json that tells its data"


def _misfit_of_ways(record: Record) -> str | None:
    ways = record.get("ways")
    return (
        None
        if ways is None
        else _misfit(ways, {str: dict.fromkeys(record["classes"], float)}, "ways")
    )


# Measuring


def measure_latency(
    classifiers: Sequence[Classifier], photos: Sequence[Path], on_step: Callable[[int], None]
) -> list[dict[str, float]]:
    """For each classifier the medians, in milliseconds: `photo`, from the file to the answer, and `engine` alone.

    Warm, by turns photo by photo, so that whatever else the machine does meets all alike. Photos that cannot be read are passed over. Raises DataError.
    """
    chosen = [photos[place * len(photos) // MEASUREMENTS] for place in range(MEASUREMENTS)]
    taken: list[list[tuple[float, float]]] = [[] for _ in classifiers]
    for done, photo in enumerate([*chosen[:2], *chosen], -1):  # the first two warm up
        for classifier, times in zip(classifiers, taken, strict=True):
            with suppress(PhotoError):
                stages = clocked(*photo_steps(classifier, photo))()
                if done > 0:
                    times.append((sum(stages), stages[STAGES.index("invoke")]))
        if done > 0:
            on_step(done)
    if not all(taken):
        raise DataError(
            f"{chosen[0]}: neither this nor the other photos can be read; expected some that can"
        )
    medians = [
        [round(statistics.median(times), 3) for times in zip(*both, strict=True)] for both in taken
    ]
    return [
        {"photo": whole, "engine": engine, "measurements": len(both)}
        for both, (whole, engine) in zip(taken, medians, strict=True)
    ]


def system(record: Record, latency: Record | None = None) -> dict[str, Any]:
    """A record with what the comparison adds; one without a file stands for the Cloud Vision API."""
    remote = record.get("file_bytes") is None
    cost = dollars_of_a_million() if remote else 0.0
    return {**record, "latency_ms": latency, "cost_of_a_million_usd": cost, "needs_network": remote}


def made_by(command: Sequence[str]) -> dict[str, Any]:
    """Program, command, date, machine and versions."""
    machine = board.describe()
    return {
        "program": f"edgecat report {version('edgecat')}",
        "command": typed(command),
        "date": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "machine": {
            key: machine[key] for key in ("board", "processor", "cores", "system") if key in machine
        },
        "versions": {
            "Python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "pillow", "matplotlib", "jinja2")},
        },
    }


# The table


def table(comparison: Comparison) -> tuple[list[str], list[list[Cell]], list[list[Cell]]]:
    """Headings, rows of the systems, a row for each claim; in a row that is shorter than the headings, the last cell stands for all the rest."""
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
    ]
    headings += ["A million photos", "Needs network", "Measured on"]
    rows = []
    for number, record in enumerate(comparison.systems, 1):
        classes, times, remote, cost = (
            record["classes"],
            record["latency_ms"],
            record["needs_network"],
            record["cost_of_a_million_usd"],
        )
        rows.append(
            [
                Cell(f"{number}. {record['model']}", note=record["engine"]),
                *(
                    _share(known["accuracy"], known["accuracy_interval"]) if known else NOTHING
                    for known in (record, *map(classes.get, labels))
                ),
                _share(record["balanced_accuracy"]),
                _share(record["calibration_error"]),
                NOTHING
                if remote
                else Cell(f"{record['file_bytes'] / 1e6:.2f} MB", record["file_bytes"]),
                *(
                    Cell(f"{times[part]:.2f} ms", times[part]) if times else NOT_TIMED
                    for part in ("photo", "engine")
                ),
                Cell(f"${cost:,.2f}", cost),
                Cell("yes" if remote else "no"),
                Cell(f"{record['photos']:,} photos", record["photos"], ", ".join(record["data"])),
            ]
        )
        if labels:
            rows += _other_ways(number, record, labels)
    claims = [
        [
            Cell(claim["system"], note="student report's own claim"),
            *(
                NOTHING if share is None else Cell(f"{share:.0%}", share)
                for share in (claim["accuracy"], *map(claim["classes"].get, labels))
            ),
            Cell(claim["said"]),
        ]
        for claim in comparison.claims
    ]
    return headings, rows, claims


_WAYS = {
    "best label": "the group of the label with the highest score",
    "sums among": "the group with the largest sum of those that the photos show",
}


def _other_ways(number: int, record: Record, labels: Sequence[str]) -> Iterator[list[Cell]]:
    """Rows of what other ways to judge groups than the largest sum give, each ending in words that stand for all the rest."""
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
    return Cell(
        f"{value:.2%}", value, f"{100 * interval[0]:.1f} to {interval[1]:.1%}" if interval else ""
    )


def source(record: Record) -> str:
    """Data and command of a record."""
    return f"{record['photos']:,} photos of {', '.join(record['data'])}: {record['command']}"


def sources(comparison: Comparison) -> dict[str, list[int]]:
    """Each source with the numbers of its systems."""
    found: dict[str, list[int]] = {}
    for number, record in enumerate(comparison.systems, 1):
        found.setdefault(source(record), []).append(number)
    return found


# Plots


def plots(comparison: Comparison) -> Iterator[tuple[str, Plot]]:
    """Each plot with the title of its section."""
    numbered = [
        (f"{number}. {record['model']}", record)
        for number, record in enumerate(comparison.systems, 1)
    ]
    with drawing.style():
        yield "Accuracy against latency", _accuracy_against_latency(numbered)
        for title, draw in (("Confidence", _confidence), ("Confusion", _confusion)):
            yield from (
                (title, draw(*system))
                for system in numbered
                if len(system[1]["classes"]) <= MANY_CLASSES
            )
        yield from (("Training", _curves(history)) for history in comparison.histories)


def _accuracy_against_latency(systems: Sequence[tuple[str, Record]]) -> Plot:
    points, said = [], []
    for name, record in systems:
        low, high = record["accuracy_interval"]
        latency = record["latency_ms"]["photo"] if record["latency_ms"] else None
        size = (record["file_bytes"] or 0) / 1e6
        points.append(
            drawing.Point(
                name.partition(".")[0],
                100 * record["accuracy"],
                latency,
                size,
                (100 * low, 100 * high),
            )
        )
        said.append(
            f"{name}: {100 * record['accuracy']:.2f} %"
            + (f" in {latency:.2f} ms, {size:.2f} MB" if latency else ", not timed here")
        )
    figure, axes = drawing.figure_of(5, 3.6)
    drawing.draw_accuracy_against_latency(
        axes, points, "milliseconds from photo to answer, one thread"
    )
    title = f"{', '.join(name for name, _ in systems)}; the area is the model's size, the bar the 95 % interval, a dashed line a system not timed here"
    return Plot(
        title,
        drawing.as_svg(figure),
        "; ".join(said),
        " · ".join(dict.fromkeys(source(record) for _, record in systems)),
    )


def _confidence(name: str, record: Record) -> Plot:
    classes = record["classes"]
    figure, *rows = drawing.figure_of(4, 0.7 + 0.9 * len(classes), len(classes))
    for place, ((label, of_class), axes) in enumerate(zip(classes.items(), rows, strict=True)):
        axes.bar(
            [(bin + 0.5) / BINS for bin in range(BINS)],
            of_class["confidence_histogram"],
            0.9 / BINS,
            color=f"C{place}",
        )
        axes.axvline(of_class["mean_confidence"], color="0.5", linestyle="--", linewidth=1)
        axes.set(xlim=(0, 1), ylabel=label)
        axes.yaxis.get_major_locator().set_params(integer=True, nbins=3)
    rows[-1].set_xlabel("score of the answer; dashed: the mean")
    alt = "; ".join(
        f"{label}: mean score {of_class['mean_confidence']:.1%} over {of_class['photos']:,} photos"
        for label, of_class in classes.items()
    )
    return Plot(name, drawing.as_svg(figure), alt, source(record))


def _confusion(name: str, record: Record) -> Plot:
    classes = record["classes"]
    answers = sorted(
        {*classes, *(answer for of_class in classes.values() for answer in of_class["answers"])}
    )[: 2 * MANY_CLASSES]
    counts = [
        [of_class["answers"].get(answer, 0) for answer in answers] for of_class in classes.values()
    ]
    figure, axes = drawing.figure_of(1.2 + 0.75 * len(answers), 1 + 0.55 * len(classes))
    axes.imshow(
        [[count / max(1, sum(row)) for count in row] for row in counts],
        cmap="Blues",
        vmin=0,
        vmax=1.4,
        aspect="auto",
    )  # 1.4: dark text stays legible
    for y, row in enumerate(counts):
        for x, count in enumerate(row):
            axes.text(
                x,
                y,
                f"{count:,}",
                ha="center",
                va="center",
                weight="bold" if answers[x] == list(classes)[y] else "normal",
            )
    axes.set_xticks(range(len(answers)), answers, rotation=45 if len(answers) > 4 else 0)
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="answer", ylabel="photos of")
    alt = "; ".join(
        f"{label}: "
        + ", ".join(f"{count:,} {answer}" for answer, count in zip(answers, row, strict=True))
        for label, row in zip(classes, counts, strict=True)
    )
    return Plot(name, drawing.as_svg(figure), alt, source(record))


def _curves(history: History) -> Plot:
    best = max(row["accuracy"] for row in history.rows)
    text = f"{len(history.rows)} epochs; best mean accuracy on the validation part {best:.2%}"
    return Plot(
        history.name, drawing.as_svg(drawing.draw_history(history.rows, 1)), text, history.source
    )


# The mistakes


def gallery(record: Record, photos: Collection[str], most: int) -> Iterator[tuple[Record, str]]:
    """The surest mistakes of a record and their thumbnails, those of `photos` alone: a record from elsewhere cannot have any file shown."""
    for mistake in record["worst"][:most]:
        with suppress(PhotoError):  # it was removed meanwhile
            if mistake["photo"] in photos:
                yield mistake, thumbnail(mistake["photo"], THUMBNAIL)


# The files


def as_html(
    comparison: Comparison, on_step: Callable[[int, int], None] = lambda done, of: None
) -> str:
    """One page that needs nothing beside it: no script, no address."""
    import jinja2

    headings, rows, claims = table(comparison)
    sections: dict[str, list[Plot]] = {}
    steps = 2 * len(comparison.systems) + len(comparison.histories) + 1
    for done, (title, plot) in enumerate(plots(comparison), 1):
        sections.setdefault(title, []).append(plot)
        on_step(done, steps)
    each = max(3, GALLERY // len(comparison.systems))
    mistakes = [
        (record, list(gallery(record, comparison.photos, each))) for record in comparison.systems
    ]
    page = (Path(__file__).parent / "page.html.jinja").read_text(encoding="utf-8")
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(page)
    of = {
        "headings": headings,
        "rows": rows,
        "claims": claims,
        "sections": sections,
        "mistakes": mistakes,
    }
    return template.render(
        of,
        systems=comparison.systems,
        made_by=comparison.made_by,
        sources=sources(comparison),
        source=source,
    )


def as_markdown(comparison: Comparison) -> str:
    """The table, and the commands that made its rows."""

    def row(cells: Sequence[str]) -> str:
        return f"| {' | '.join(_escaped(' '.join(cell.split())) for cell in cells)} |"

    headings, rows, claims = table(comparison)
    made, machine = comparison.made_by, comparison.made_by["machine"]
    lines = [
        f"<!-- made by {made['program']} -->",
        "# Comparison of image classifiers",
        "",
        row(headings),
        row(["---", *["---:"] * (len(headings) - 2), "---"]),
    ]
    for cells in (
        [*cells[:-1], *[NOTHING] * (len(headings) - len(cells)), cells[-1]]
        for cells in [*rows, *claims]
    ):
        lines.append(
            row([f"{cell.text} ({cell.note})" if cell.note else cell.text for cell in cells])
        )
    lines += [
        "",
        *(
            f"- {', '.join(map(str, numbers))}: {_escaped(found)}"
            for found, numbers in sources(comparison).items()
        ),
        "",
    ]
    lines += [
        f"Made by {_escaped(made['command'])} on {made['date']}: {machine['processor']}, {machine['cores']} cores.",
        "",
    ]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Read as text by Markdown, whatever it holds."""
    return re.sub(r"([\\`*_|\[\]])", r"\\\1", html.escape(text, quote=False))


def as_json(comparison: Comparison) -> str:
    """Every number of the page."""
    return (
        json.dumps(
            {
                "made_by": comparison.made_by,
                "systems": comparison.systems,
                "claims": comparison.claims,
            },
            ensure_ascii=False,
            indent=1,
        )
        + "\n"
    )


def made_here(path: Path) -> bool:
    """Whether `edgecat report` wrote this file."""
    marks = {
        ".html": '<meta name="generator" content="edgecat report',
        ".md": "<!-- made by edgecat report",
        ".json": '"program": "edgecat report',
    }
    with path.open("rb") as file:
        return marks[path.suffix].encode() in file.read(300)
