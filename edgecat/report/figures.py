"""The plots of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from edgecat.report import plots
from edgecat.report.comparison import MANY_CLASSES, Comparison, source
from edgecat.report.history import History
from edgecat.report.records import BINS, Record


class Figure(NamedTuple):
    """A plot on the page."""

    title: str
    image: str  # data URI
    alt: str
    source: str  # data and command


def figures(comparison: Comparison) -> Iterator[tuple[str, Figure]]:
    """Yield each plot with the title of its section."""
    with plots.style():
        yield "Accuracy against latency", _accuracy_against_latency(comparison.numbered)
        for title, draw in (("Confidence", _confidence), ("Confusion", _confusion)):
            for name, record in comparison.numbered:
                if len(record["classes"]) <= MANY_CLASSES:
                    yield title, draw(name, record)
        for history in comparison.histories:
            yield "Training", _curves(history)


def _accuracy_against_latency(systems: Sequence[tuple[str, Record]]) -> Figure:
    points, alts = [], []
    for name, record in systems:
        accuracy = 100 * record["accuracy"]
        low, high = record["accuracy_interval"]
        latency = record["latency_ms"]["photo"] if record["latency_ms"] else None
        size = (record["file_bytes"] or 0) / 1e6
        number = name.partition(".")[0]
        points.append(plots.Point(number, accuracy, latency, size, (100 * low, 100 * high)))
        timing = f" in {latency:.2f} ms, {size:.2f} MB" if latency else ", not timed here"
        alts.append(f"{name}: {accuracy:.2f} %{timing}")
    figure, axes = plots.figure_of(5, 3.6)
    plots.draw_accuracy_against_latency(
        axes, points, "milliseconds from photo to answer, one thread"
    )
    names = ", ".join(name for name, _ in systems)
    return Figure(
        f"{names}; the area is the model's size, the bar the 95 % interval, "
        "a dashed line a system not timed here",
        plots.as_svg(figure),
        "; ".join(alts),
        " · ".join(dict.fromkeys(source(record) for _, record in systems)),
    )


def _confidence(name: str, record: Record) -> Figure:
    classes = record["classes"]
    figure, *rows = plots.figure_of(4, 0.7 + 0.9 * len(classes), len(classes))
    middles = [(number + 0.5) / BINS for number in range(BINS)]
    alts = []
    for place, ((label, of_class), axes) in enumerate(zip(classes.items(), rows, strict=True)):
        mean = of_class["mean_confidence"]
        axes.bar(middles, of_class["confidence_histogram"], 0.9 / BINS, color=f"C{place}")
        axes.axvline(mean, color="0.5", linestyle="--", linewidth=1)
        axes.set(xlim=(0, 1), ylabel=label)
        axes.yaxis.get_major_locator().set_params(integer=True, nbins=3)
        alts.append(f"{label}: mean score {mean:.1%} over {of_class['photos']:,} photos")
    rows[-1].set_xlabel("score of the answer; dashed: the mean")
    return Figure(name, plots.as_svg(figure), "; ".join(alts), source(record))


def _confusion(name: str, record: Record) -> Figure:
    classes = record["classes"]
    given = {answer for of_class in classes.values() for answer in of_class["answers"]}
    answers = sorted({*classes, *given})[: 2 * MANY_CLASSES]
    counts = [
        [of_class["answers"].get(answer, 0) for answer in answers] for of_class in classes.values()
    ]
    figure, axes = plots.figure_of(1.2 + 0.75 * len(answers), 1 + 0.55 * len(classes))
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    # vmax above 1: dark text stays legible.
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.4, aspect="auto")
    for y, (label, row) in enumerate(zip(classes, counts, strict=True)):
        for x, count in enumerate(row):
            weight = "bold" if answers[x] == label else "normal"
            axes.text(x, y, f"{count:,}", ha="center", va="center", weight=weight)
    axes.set_xticks(range(len(answers)), answers, rotation=45 if len(answers) > 4 else 0)
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="answer", ylabel="photos of")
    alt = "; ".join(
        f"{label}: {_counted(answers, row)}" for label, row in zip(classes, counts, strict=True)
    )
    return Figure(name, plots.as_svg(figure), alt, source(record))


def _counted(answers: Sequence[str], counts: Sequence[Any]) -> str:
    return ", ".join(f"{count:,} {answer}" for answer, count in zip(answers, counts, strict=True))


def _curves(history: History) -> Figure:
    best = max(row["accuracy"] for row in history.rows)
    alt = f"{len(history.rows)} epochs; best mean accuracy on the validation part {best:.2%}"
    drawn = plots.draw_history(history.rows, columns=1)
    return Figure(history.name, plots.as_svg(drawn), alt, history.source)
