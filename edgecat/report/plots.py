"""Plots with matplotlib, for the report, the benchmark and training."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from edgecat.report.images import data_uri

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Point(NamedTuple):
    """A system: its accuracy, latency and size."""

    name: str
    accuracy: float  # %
    latency_ms: float | None  # None if it was not timed
    megabytes: float = 0.0
    interval: tuple[float, float] | None = None  # of the accuracy, %


@contextmanager
def style() -> Iterator[None]:
    """Apply the style of all figures."""
    import matplotlib as mpl

    settings = {
        "font.size": 9,
        "svg.fonttype": "none",
        "svg.hashsalt": "edgecat",
        "text.parse_math": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        # The browser draws the text, and has letters that matplotlib's font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield


def draw_accuracy_against_latency(
    axes: Any, points: Sequence[Point], xlabel: str, ylabel: str = "accuracy, %"
) -> None:
    """Draw a point for each system, or a dashed line if it was not timed.

    A point's area is the model's size, its bar the accuracy's interval.
    """
    timed = [point.latency_ms for point in points if point.latency_ms]
    for number, point in enumerate(points):
        colour = f"C{number % 10}"
        text = {
            "text": point.name,
            "textcoords": "offset points",
            "color": colour,
            "weight": "bold",
        }
        if point.latency_ms:
            if point.interval:
                bar = [[point.accuracy - point.interval[0]], [point.interval[1] - point.accuracy]]
                axes.errorbar(
                    point.latency_ms, point.accuracy, bar, color=colour, capsize=3, linewidth=1
                )
            axes.scatter(
                point.latency_ms, point.accuracy, 12 * point.megabytes + 12, color=colour, alpha=0.6
            )
            axes.annotate(
                xy=(point.latency_ms, point.accuracy),
                xytext=((7, -13)[number % 2], (6, -13)[number // 2 % 2]),
                **text,
            )
        else:
            axes.axhline(point.accuracy, color=colour, linestyle="--", linewidth=1)
            axes.annotate(
                xy=(0, point.accuracy), xycoords=("axes fraction", "data"), xytext=(3, 3), **text
            )
    if len(timed) > 1 and max(timed) > 8 * min(timed):
        axes.set_xscale("log", subs=[])  # no small ticks
        axes.xaxis.get_major_locator().set_params(subs=(1, 2, 5))
        axes.xaxis.set_major_formatter("{x:g}")  # the default is mathematics, not parsed here
        axes.margins(x=0.1)
    else:
        axes.set_xlim(0, 1.15 * max(timed, default=1))
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)


def draw_stages(axes: Any, rows: Mapping[str, Mapping[str, float]]) -> None:
    """Draw a stacked bar for each row: the milliseconds of its stages."""
    ends = dict.fromkeys(rows, 0.0)
    for number, stage in enumerate(
        dict.fromkeys(stage for stages in rows.values() for stage in stages)
    ):
        lengths = [stages.get(stage, 0.0) for stages in rows.values()]
        axes.barh(
            range(len(rows)),
            lengths,
            left=list(ends.values()),
            color=f"C{number}",
            label=stage,
            height=0.6,
        )
        ends = {name: ends[name] + length for name, length in zip(rows, lengths, strict=True)}
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds, median of each stage")
    axes.grid(axis="x", alpha=0.3)
    axes.figure.legend(frameon=False, ncols=5, loc="outside upper center")


def draw_history(rows: Sequence[Mapping[str, float]], columns: int) -> Figure:
    """Draw the losses, and the accuracy of each class, over the epochs of a training run.

    One above the other in 1 column, or side by side in 2 `columns`.
    """
    figure, losses, accuracies = figure_of(4 * columns, 4.4 / columns**0.5, 2 // columns, columns)
    epochs = [row["epoch"] for row in rows]
    for key in rows[0]:
        # Accuracies first: a class may be called hair_loss.
        if key == "accuracy":
            axes, label = accuracies, "mean of classes"
        elif key.startswith("accuracy_"):
            axes, label = accuracies, key.removeprefix("accuracy_")
        elif key.endswith("_loss"):
            axes, label = losses, key.removesuffix("_loss")
        else:
            continue
        axes.plot(epochs, [row[key] for row in rows], marker=".", label=label)
    for axes, title in ((losses, "loss"), (accuracies, "accuracy, validation part")):
        axes.set(ylabel=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure  # type: ignore[no-any-return]


def figure_of(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, ...]:
    """Return a figure of `width` x `height` inches, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, *(
        figure.add_subplot(rows, columns, place + 1) for place in range(rows * columns)
    )


def as_svg(figure: Figure) -> str:
    """Return the figure as a data URI."""
    return data_uri("image/svg+xml", as_file(figure, "svg", transparent=True))


def as_file(figure: Figure, kind: str, transparent: bool = False) -> bytes:
    """Return the figure as an svg, png or pdf."""
    content = io.BytesIO()
    figure.savefig(
        content,
        format=kind,
        dpi=150,
        transparent=transparent,
        metadata={"Date": None, "Creator": None} if kind == "svg" else None,
    )
    return content.getvalue()
