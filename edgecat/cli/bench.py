"""`edgecat bench`."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecat.card import typed
from edgecat.cli.cloud import CloudVisionOption, YesOption, open_cloud_vision
from edgecat.cli.configurations import find_configurations, parse_variants
from edgecat.cli.describing import describing
from edgecat.cli.options import Device, Engine
from edgecat.cli.output import ProgressLine, complain, quiet_libraries, table
from edgecat.errors import EdgecatError
from edgecat.foreign.description import Description
from edgecat.models import DEFAULT_MODEL
from edgecat.photo import EncodedPhoto, read_encoded

if TYPE_CHECKING:
    from edgecat.cloud.wan import Network
    from edgecat.measure.latency.record import Record
    from edgecat.measure.latency.service import Upload

PLOTS = (".svg", ".png", ".pdf")


@describing
def bench(
    model: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help=".tflite or .onnx model files; else the default model.",
            show_default=False,
        ),
    ] = None,
    photo: Annotated[
        Path | None,
        typer.Option(
            help="A photo; else one of 12 megapixels that edgecat makes.", show_default=False
        ),
    ] = None,
    device: Device = "cpu",
    threads: Annotated[
        str | None,
        typer.Option(
            metavar="N,N…",
            help="Threads of the engine; several to compare them. "
            "\\[default: 1, and one a core, at most 4]",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        str,
        typer.Option(
            metavar="N,N…", help="Photos that the engine is given at once; several to compare them."
        ),
    ] = "1",
    engine: Engine = None,
    max_seconds: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=3600,
            help="At most so long for each configuration, cold starts not counted.",
        ),
    ] = 10.0,
    as_board: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="BOARD",
            help="pi-zero2w, pi4, pi5, phone or pixel4: its number of cores, "
            "and what others published for it.",
            show_default=False,
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="rtt=60ms,up=10Mbit",
            help="Compute what Cloud Vision must at least take over such a network.",
            show_default=False,
        ),
    ] = None,
    cloud_vision: CloudVisionOption = False,
    yes: YesOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line for each configuration.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the records to this file too, one a line.", show_default=False),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.svg",
            help="Draw the stages, and latency against accuracy (.svg, .png or .pdf).",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="BEFORE AFTER",
            help="Compare two files of records instead of measuring.",
            show_default=False,
        ),
    ] = None,
    description: Description | None = None,
) -> None:
    """Measure latency on this machine: cold start, warm percentiles, stages, throughput, memory.

    Also shows how near the engine comes to the machine's peak. Configurations are measured by
    turns, so that a disturbance meets all alike. Every record holds the machine's state before
    and after. What makes figures less certain is printed too.

    [bold]edgecat bench[/bold]   the default model, with one thread and with all cores

    [bold]edgecat bench small.tflite large.onnx --threads 1 --photo cat.jpg --out pi5.json[/bold]

    [bold]edgecat bench --compare before.json after.json[/bold]
    """
    from edgecat.measure.latency.benchmark import measure
    from edgecat.measure.latency.published import add_published
    from edgecat.measure.latency.service import measure_service
    from edgecat.measure.synthetic_photo import write_synthetic_photo

    _check_plot(plot)
    if compare is not None:
        _print_comparison(*compare, as_json)
        return
    uplink = _parse_network(network)
    variants = parse_variants(device, threads, batch, as_board)
    configurations = find_configurations(
        model or [DEFAULT_MODEL], engine, device, variants, description
    )
    failed = False

    def on_error(error: EdgecatError) -> None:
        nonlocal failed
        failed = True
        progress.end()
        complain(error)

    progress = ProgressLine()
    with ExitStack() as resources:
        if photo is None:
            folder = resources.enter_context(tempfile.TemporaryDirectory())
            photo = Path(folder, "made by edgecat.jpg")
            write_synthetic_photo(photo)
        encoded = read_encoded(photo)
        cloud = resources.enter_context(open_cloud_vision([], yes)) if cloud_vision else None
        resources.enter_context(quiet_libraries())
        records, interrupted = measure(configurations, photo, max_seconds, progress.step, on_error)
        progress.end()
        if cloud is not None and not interrupted:
            records.append(measure_service(cloud, encoded, _upload(encoded), progress.step))
            progress.end()
    command = typed(["edgecat", *sys.argv[1:]])
    for record in records:
        record["command"] = command
        if as_board is not None:
            add_published(record, as_board)
        if uplink is not None:
            _add_network(record, uplink, encoded)
    _print(records, as_json)
    if out is not None:
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        _write(out, "".join(lines).encode())
    if plot is not None and records:
        from edgecat.report.latency_plot import draw_latency

        _write(plot, draw_latency(records, plot.suffix[1:]))
    if interrupted:
        complain(
            "interrupted: the figures are of what was measured until then"
            if records
            else "interrupted before anything was measured"
        )
        raise typer.Exit(130)
    if failed:
        raise typer.Exit(1)


def _check_plot(plot: Path | None) -> None:
    if plot is None:
        return
    if plot.suffix not in PLOTS:
        raise typer.BadParameter(
            f"'{plot}', expected a name that ends in .svg, .png or .pdf", param_hint="--plot"
        )
    if importlib.util.find_spec("matplotlib") is None:
        raise EdgecatError(
            "a plot needs 'matplotlib'; install it with: pip install 'edgecat[plots]'"
        )


def _parse_network(network: str | None) -> Network | None:
    from edgecat.cloud.wan import Network

    try:
        return None if network is None else Network.parse(network)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--network") from None


def _upload(photo: EncodedPhoto) -> Upload:
    from edgecat.cloud.request import MAX_BASE64, MAX_PHOTOS, base64_bytes, light
    from edgecat.measure.latency.service import Upload

    content = light(photo)
    size = base64_bytes(content)
    return Upload(content, size, max(1, min(MAX_PHOTOS, MAX_BASE64 // size)))


def _add_network(record: Record, network: Network, photo: EncodedPhoto) -> None:
    """Add what Cloud Vision takes at least over a network."""
    if "photo_to_answer" in record:
        here_ms = record["photo_to_answer"]["median_ms"]
        here_per_s = record.get("throughput", {}).get("all_cores_per_s")
        record["network"] = network.computed([photo], here_ms, here_per_s)


def _print(records: Sequence[Record], as_json: bool) -> None:
    from edgecat.measure.latency.tables import tables

    if as_json:
        for record in records:
            print(json.dumps(record, ensure_ascii=False), flush=True)
        return
    if not records:
        return
    print("\n\n".join("\n".join(table(rows)) for rows in tables(records)))
    for line in dict.fromkeys(line for record in records for line in record["warnings"]):
        complain(f"note: {line}")


def _print_comparison(before: Path, after: Path, as_json: bool) -> None:
    from edgecat.measure.latency.comparison import compare, pair_records, read_records, same_board
    from edgecat.measure.latency.tables import comparison_table

    files = read_records(before), read_records(after)
    pairs = pair_records(*files)
    if as_json:
        for pair in pairs:
            print(json.dumps(compare(*pair), ensure_ascii=False))
        return
    print(*table(comparison_table(pairs)), sep="\n")
    if not all(same_board(*pair) for pair in pairs):
        boards = (records[0].get("board", {}) for records in files)
        names = (f"{board.get('board', '')} {board.get('processor', '')}" for board in boards)
        print(f"* measured on different boards: {'; '.join(name.strip() for name in names)}")


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise EdgecatError(
            f"{path}: cannot be written ({error.strerror}); give another name"
        ) from None
