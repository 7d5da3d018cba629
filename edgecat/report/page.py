"""A comparison as HTML, Markdown and JSON."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from edgecat.errors import PhotoError
from edgecat.report.comparison import NOTHING, Cell, Comparison, source, sources, table
from edgecat.report.figures import Figure, figures
from edgecat.report.images import thumbnail
from edgecat.report.records import Record
from edgecat.report.template import template

GALLERY = 36  # photos in all
LEAST = 3  # photos of each system
THUMBNAIL = 160  # pixels of the longer side


def as_html(
    comparison: Comparison, on_step: Callable[[int, int], None] = lambda done, total: None
) -> str:
    """Return one page that needs nothing beside it: no script, no address.

    `on_step` receives the number of plots drawn, and of all.
    """
    headings, rows, claims = table(comparison)
    sections: dict[str, list[Figure]] = {}
    total = 2 * len(comparison.systems) + len(comparison.histories) + 1
    for done, (title, figure) in enumerate(figures(comparison), 1):
        sections.setdefault(title, []).append(figure)
        on_step(done, total)
    each = max(LEAST, GALLERY // len(comparison.systems))
    mistakes = [
        (record, list(_mistakes(record, comparison.photos, each))) for record in comparison.systems
    ]
    return template("page.html.jinja").render(
        headings=headings,
        rows=rows,
        claims=claims,
        sections=sections,
        mistakes=mistakes,
        systems=comparison.systems,
        made_by=comparison.made_by,
        sources=sources(comparison),
        source=source,
    )


def _mistakes(record: Record, photos: Collection[str], most: int) -> Iterator[tuple[Record, str]]:
    """Yield a record's mistakes with the highest scores, and their thumbnails.

    Only files in `photos` are shown: a record from elsewhere may name any file.
    """
    for mistake in record["worst"][:most]:
        with suppress(PhotoError):  # it was removed meanwhile
            if mistake["photo"] in photos:
                yield mistake, thumbnail(mistake["photo"], THUMBNAIL)


def as_markdown(comparison: Comparison) -> str:
    """Return the table, and the commands that made its rows."""
    headings, rows, claims = table(comparison)
    made, machine = comparison.made_by, comparison.made_by["machine"]
    lines = [
        f"<!-- made by {made['program']} -->",
        "# Comparison of image classifiers",
        "",
        _markdown_row(headings),
        _markdown_row(["---", *["---:"] * (len(headings) - 2), "---"]),
    ]
    for cells in [*rows, *claims]:
        padding = [NOTHING] * (len(headings) - len(cells))
        lines.append(_markdown_row(map(_with_note, [*cells[:-1], *padding, cells[-1]])))
    lines.append("")
    for found, numbers in sources(comparison).items():
        lines.append(f"- {', '.join(map(str, numbers))}: {_escaped(found)}")
    lines += [
        "",
        f"Made by {_escaped(made['command'])} on {made['date']}: "
        f"{machine['processor']}, {machine['cores']} cores.",
        "",
    ]
    return "\n".join(lines)


def _markdown_row(cells: Iterator[str] | Sequence[str]) -> str:
    return f"| {' | '.join(_escaped(' '.join(cell.split())) for cell in cells)} |"


def _with_note(cell: Cell) -> str:
    return f"{cell.text} ({cell.note})" if cell.note else cell.text


def _escaped(text: str) -> str:
    """Return `text` so that Markdown shows it unchanged."""
    return re.sub(r"([\\`*_|\[\]])", r"\\\1", html.escape(text, quote=False))


def as_json(comparison: Comparison) -> str:
    """Return every number of the page."""
    record = {
        "made_by": comparison.made_by,
        "systems": comparison.systems,
        "claims": comparison.claims,
    }
    return json.dumps(record, ensure_ascii=False, indent=1) + "\n"


def made_here(path: Path) -> bool:
    """Return whether `edgecat report` wrote this file."""
    marks = {
        ".html": '<meta name="generator" content="edgecat report',
        ".md": "<!-- made by edgecat report",
        ".json": '"program": "edgecat report',
    }
    with path.open("rb") as file:
        return marks[path.suffix].encode() in file.read(300)
