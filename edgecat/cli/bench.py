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
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgecat.card import typed
from edgecat.cli.cloud import CloudVisionOption, YesOption, open_cloud_vision
from edgecat.cli.describing import describing
from edgecat.cli.output import ProgressLine, complain, quiet_libraries, table
from edgecat.engines import DEVICES, choose_engine, cores
from edgecat.errors import EdgecatError
from edgecat.foreign.description import Description
from edgecat.formats import detect
from edgecat.models import DEFAULT_MODEL
from edgecat.photo import EncodedPhoto, read_encoded

if TYPE_CHECKING:
    from edgecat.cloud.request import Network
    from edgecat.measure.latency import Record

MOST_THREADS, MOST_BATCH = 256, 1024
CLOUD_SINGLES, CLOUD_BATCHES = 10, 3  # requests of one photo, of as many as a request takes
EMPTY = "-"


@describing
def bench(
    model: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help=".tflite or .onnx model files; else the one that comes along.",
            show_default=False,
        ),
    ] = None,
    photo: Annotated[
        Path | None,
        typer.Option(
            help="A photo; else one of 12 megapixels that edgecat makes.", show_default=False
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(help=f"What computes: {', '.join(DEVICES)}. Fails where anything else would."),
    ] = "cpu",
    threads: Annotated[
        str | None,
        typer.Option(
            metavar="N,N…",
            help="Threads of the engine; several to compare them. \\[default: 1, and one a core, at most 4]",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        str,
        typer.Option(
            metavar="N,N…", help="Photos that the engine is given at once; several to compare them."
        ),
    ] = "1",
    engine: Annotated[
        str | None,
        typer.Option(
            help="litert, tflite-runtime, tensorflow or onnxruntime; else the best that is installed.",
            show_default=False,
        ),
    ] = None,
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
            help="pi-zero2w, pi4, pi5, phone or pixel4: its number of cores, and what others published for it.",
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
    """Measure latency on this machine: cold start, warm percentiles, each stage, throughput, memory, and how near to the machine's peak it comes.

    Configurations are measured by turns, so that whatever disturbs one disturbs all. Every record
    holds the machine's state before and after; what makes figures worth less is said.

    [bold]edgecat bench[/bold]   the model that comes along, with one thread and with all cores

    [bold]edgecat bench small.tflite large.onnx --threads 1 --photo cat.jpg --out pi5.json[/bold]

    [bold]edgecat bench --compare before.json after.json[/bold]
    """
    from edgecat.measure import latency as timing

    _check_plot(plot)
    if compare is not None:
        _print_comparison(timing.read_records(compare[0]), timing.read_records(compare[1]), as_json)
        return
    over = _network(network)
    configurations = _configurations(
        model or [DEFAULT_MODEL], device, threads, batch, engine, as_board, description
    )
    failed: list[EdgecatError] = []

    def on_error(error: EdgecatError) -> None:
        failed.append(error)
        progress.end()
        complain(error)

    progress = ProgressLine()
    with ExitStack() as held:
        if photo is None:
            photo = Path(held.enter_context(tempfile.TemporaryDirectory()), "made by edgecat.jpg")
            timing.made_photo(photo)
        encoded = read_encoded(photo)
        cloud = held.enter_context(open_cloud_vision([], yes)) if cloud_vision else None
        held.enter_context(quiet_libraries())
        records, interrupted = timing.measure(
            configurations, photo, max_seconds, progress.step, on_error
        )
        progress.end()
        if cloud is not None and not interrupted:
            records.append(_ask_cloud(cloud, encoded, progress))
    command = typed(["edgecat", *sys.argv[1:]])
    for record in records:
        record["command"] = command
        _add_what_is_known(record, as_board, over, encoded)
    _print(records, as_json)
    if out is not None:
        _write(
            out,
            "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode(),
        )
    if plot is not None and records:
        _write(plot, _drawn(records, plot.suffix[1:]))
    if interrupted:
        complain(
            "interrupted: the figures are of what was measured until then"
            if records
            else "interrupted before anything was measured"
        )
        raise typer.Exit(130)
    if failed:
        raise typer.Exit(1)


def _configurations(
    models: Sequence[Path],
    device: str,
    threads: str | None,
    batch: str,
    engine: str | None,
    as_board: str | None,
    description: Description | None,
) -> list[Any]:
    from edgecat.measure.latency import Configuration
    from edgecat.measure.published import BOARDS

    if as_board is not None and as_board not in BOARDS:
        raise typer.BadParameter(
            f"'{as_board}', expected one of {', '.join(BOARDS)}", param_hint="--as"
        )
    if device not in DEVICES:
        raise typer.BadParameter(
            f"'{device}', expected one of {', '.join(DEVICES)}", param_hint="--device"
        )
    if as_board is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: BOARDS[as_board].cores])
    few = f"1,{min(cores(), BOARDS[as_board].cores if as_board else 4)}" if device == "cpu" else "1"
    wanted = [
        (n, of)
        for n in _whole_numbers(threads or few, "--threads", MOST_THREADS)
        for of in _whole_numbers(batch, "--batch", MOST_BATCH)
    ]
    found = []
    for path in models:
        chosen = choose_engine(detect(path), engine, device)
        found += [Configuration(path, chosen, device, n, of, description) for n, of in wanted]
    return found


def _whole_numbers(given: str, option: str, most: int) -> list[int]:
    """Each once, in their order."""
    try:
        numbers = list(dict.fromkeys(map(int, given.split(","))))
    except ValueError:
        numbers = [0]
    if not all(1 <= number <= most for number in numbers):
        raise typer.BadParameter(
            f"'{given}', expected whole numbers from 1 to {most}, with commas between",
            param_hint=option,
        )
    return numbers


def _network(given: str | None) -> Network | None:
    from edgecat.cloud.request import Network

    try:
        return None if given is None else Network.parse(given)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--network") from None


def _ask_cloud(cloud: Any, photo: EncodedPhoto, progress: ProgressLine) -> Record:
    """A record of the service itself: what is sent, and the time to its answers, for one photo and for as many as a request takes."""
    from edgecat.cloud.request import MAX_BASE64, MAX_PHOTOS, base64_bytes, light
    from edgecat.measure import board
    from edgecat.measure import latency as timing

    content = light(photo)
    many = max(1, min(MAX_PHOTOS, MAX_BASE64 // base64_bytes(content)))
    before = board.state()
    times: dict[int, list[float]] = {1: [], many: []}
    cloud.time_request([content])  # opens the connection
    for count, requests in ((1, CLOUD_SINGLES), (many, CLOUD_BATCHES)):
        for number in range(requests):
            progress.step(f"asking {cloud.name} about {count} at once", number + 1, requests)
            times[count].append(cloud.time_request([content] * count))
    progress.end()
    return {
        **{
            "format_version": timing.FORMAT_VERSION,
            "model": cloud.name,
            "engine": cloud.engine,
            "device": "cloud",
            "precision": "",
            "accuracy": None,
        },
        **{
            "num_threads": 1,
            "batch": 1,
            "upload_bytes": base64_bytes(content),
            "latency": timing.summary(times[1]),
        },
        **{
            "batches": {"photos": many, "latency": timing.summary(times[many])},
            "photo": {"name": Path(photo.name).name, "bytes": len(photo.content)},
        },
        **{
            "units_paid_for": 1 + CLOUD_SINGLES + many * CLOUD_BATCHES,
            "board": board.describe(),
            "before": before,
            "after": board.state(),
            "warnings": [],
        },
    }


def _add_what_is_known(
    record: Record, as_board: str | None, over: Network | None, photo: EncodedPhoto
) -> None:
    """Beside what was measured, what others published, and what a network makes of the cloud."""
    from edgecat.measure.published import BOARDS, nearest

    if as_board is not None and record["device"] != "cloud" and cores() < BOARDS[as_board].cores:
        record["warnings"].append(
            f"{BOARDS[as_board].name} has {BOARDS[as_board].cores} cores, and this machine gives {cores()}"
        )
    if as_board is not None and record.get("macs"):
        figure = nearest(
            as_board, record["architecture"], record["precision"] == "int8", record["macs"]
        )
        record["published"] = {"as": as_board, "nearest": figure._asdict() if figure else None}
    if over is not None and "photo_to_answer" in record:
        per_second = record.get("throughput", {}).get("all_cores_per_s")
        record["network"] = over.computed(
            [photo], record["photo_to_answer"]["median_ms"], per_second
        )


# What a person reads


def _print(records: Sequence[Record], as_json: bool) -> None:
    if as_json:
        for record in records:
            print(json.dumps(record, ensure_ascii=False), flush=True)
        return
    if not records:
        return
    here = [record for record in records if record["device"] != "cloud"]
    blocks = [
        _latencies(records),
        *([_stages(here)] if any("stages" in record for record in here) else []),
    ]
    blocks += [
        rows
        for rows in (_machine(here), _published(here), _networks(here), _cloud(records))
        if len(rows) > 1
    ]
    for number, rows in enumerate(blocks):
        if number:
            print()
        print(*table(rows), sep="\n")
    for line in dict.fromkeys(line for record in records for line in record["warnings"]):
        complain(f"note: {line}")


def _name(record: Record) -> list[str]:
    return [record["model"], str(record["num_threads"]), str(record["batch"])]


def _latencies(records: Sequence[Record]) -> list[list[str]]:
    rows = [
        [
            "engine, ms a run",
            "threads",
            "batch",
            "min",
            "median",
            "mean",
            "p90",
            "p95",
            "p99",
            "max",
            "runs",
            "outliers",
            "engine",
            "runs on",
        ]
    ]
    for record in records:
        latency = record["latency"]
        figures = [
            _ms(latency[f"{key}_ms"])
            for key in ("min", "median", "avg", "p90", "p95", "p99", "max")
        ]
        rows.append(
            [
                *_name(record),
                *figures,
                str(latency["num_runs"]),
                str(latency["outliers"]),
                record["engine"],
                record.get("runs_on", EMPTY),
            ]
        )
    return rows


def _stages(records: Sequence[Record]) -> list[list[str]]:
    from edgecat.measure.latency import STAGES

    rows = [
        [
            "photo to answer, median ms",
            "threads",
            "batch",
            *STAGES,
            "whole",
            "p99",
            "photos/s",
            "all cores",
        ]
    ]
    for record in records:
        if "stages" in record:
            stages = [_ms(record["stages"][stage]["median_ms"]) for stage in STAGES]
            whole, throughput = record["photo_to_answer"], record.get("throughput", {})
            speed = [
                f"{throughput[key]:.1f}" if key in throughput else EMPTY
                for key in ("one_worker_per_s", "all_cores_per_s")
            ]
            rows.append(
                [*_name(record), *stages, _ms(whole["median_ms"]), _ms(whole["p99_ms"]), *speed]
            )
    return rows


def _machine(records: Sequence[Record]) -> list[list[str]]:
    columns = [
        "cold start",
        "opening",
        "first run",
        "peak memory",
        "steady",
        "size",
        "MACs",
        "of the machine's peak",
        "energy a run",
    ]
    rows = [["cold start ms, memory MB", "threads", "batch", *columns]]
    for record in records:
        cold, memory, latency, energy = (
            record.get(key, {}) for key in ("cold", "memory", "latency", "energy")
        )
        rows.append(
            [
                *_name(record),
                *(
                    _ms(value) if value is not None else EMPTY
                    for value in (
                        cold.get("total_ms"),
                        latency.get("init_ms"),
                        latency.get("warmup_first_ms"),
                    )
                ),
                *(
                    f"{memory[key]:.1f}" if key in memory else EMPTY
                    for key in ("peak_mb", "steady_mb")
                ),
                f"{record['model_size_mb']:.2f} MiB",
                f"{record['macs'] / 1e6:.1f} M" if record.get("macs") else EMPTY,
                f"{record['share_of_peak']:.0%} of {record['peak_gmacs_per_s']:.0f} G/s"
                if "share_of_peak" in record
                else EMPTY,
                f"{energy['mj_per_inference']:.2f} mJ" if energy else EMPTY,
            ]
        )
    return rows


def _published(records: Sequence[Record]) -> list[list[str]]:
    from edgecat.measure.published import BOARDS

    rows = [["PUBLISHED by others, not measured here", "for", "ms", "source"]]
    for record in records:
        figure = record.get("published", {}).get("nearest")
        if figure:
            rows.append(
                [
                    f"{BOARDS[figure['board']].name}: {figure['model']}",
                    record["model"],
                    _ms(figure["latency_ms"]),
                    figure["source"],
                ]
            )
        elif "published" in record:
            rows.append(
                [
                    f"{BOARDS[record['published']['as']].name}: none of {record['architecture']}",
                    record["model"],
                    EMPTY,
                    EMPTY,
                ]
            )
    return [rows[0], *(list(row) for row in dict.fromkeys(map(tuple, rows[1:])))]


def _networks(records: Sequence[Record]) -> list[list[str]]:
    rows = [
        [
            "COMPUTED: Cloud Vision at least",
            "threads",
            "batch",
            "upload",
            "a photo",
            "here",
            "a million photos",
            "here",
            "here wins on any network with",
        ]
    ]
    for record in records:
        found = record.get("network")
        if found:
            million = found["million_photos"]
            wins = f"a round trip from {found['here_wins_from_rtt_ms']:.1f} ms, or an uplink below {found['here_wins_below_mbit_per_s']:.1f} Mbit/s"
            cells = [
                f"{found['upload_bytes'] / 1e3:.0f} kB",
                f"{found['least_ms']:.1f} ms",
                f"{found['here_ms']:.1f} ms",
            ]
            here = f"$0, {million['here_hours']:.1f} h" if "here_hours" in million else "$0"
            rows.append(
                [
                    *_name(record),
                    *cells,
                    f"${million['cloud_usd']:,.2f}, {million['cloud_hours']:.1f} h",
                    here,
                    wins,
                ]
            )
    return rows


def _cloud(records: Sequence[Record]) -> list[list[str]]:
    rows = [["asked for real", "upload", "a photo", "at once", "of so many", "units paid for"]]
    for record in records:
        if record["device"] == "cloud":
            many = record["batches"]
            cells = [
                f"{record['upload_bytes'] / 1e3:.0f} kB",
                f"{_ms(record['latency']['median_ms'])} ms",
                str(many["photos"]),
            ]
            rows.append(
                [
                    record["model"],
                    *cells,
                    f"{_ms(many['latency']['median_ms'])} ms",
                    str(record["units_paid_for"]),
                ]
            )
    return rows


def _ms(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _print_comparison(before: Sequence[Record], after: Sequence[Record], as_json: bool) -> None:
    from edgecat.measure import latency as timing

    rows = [
        [
            "median ms",
            "threads",
            "batch",
            "engine before",
            "after",
            "ratio",
            "photo before",
            "after",
            "ratio",
            "cold before",
            "after",
            "ratio",
        ]
    ]
    for one, other in timing.compare(before, after):
        same = timing.same_board(one, other)
        pairs = {
            "engine": (one["latency"]["median_ms"], other["latency"]["median_ms"]),
            "photo_to_answer": tuple(
                record.get("photo_to_answer", {}).get("median_ms") for record in (one, other)
            ),
            "cold": tuple(record.get("cold", {}).get("total_ms") for record in (one, other)),
        }
        if as_json:
            ratios = {
                name: round(new / old, 4) for name, (old, new) in pairs.items() if old and new
            }
            keys = ("model", "precision", "device", "num_threads", "batch")
            print(
                json.dumps(
                    {
                        **{key: other[key] for key in keys},
                        "median_ms": pairs,
                        "ratio": ratios,
                        "same_board": same,
                    },
                    ensure_ascii=False,
                )
            )
            continue
        cells = [
            cell
            for old, new in pairs.values()
            for cell in ((_ms(old), _ms(new), f"{new / old:.3f}") if old and new else (EMPTY,) * 3)
        ]
        rows.append([other["model"] + ("" if same else " *"), *_name(other)[1:], *cells])
    if not as_json:
        print(*table(rows), sep="\n")
        if any(row[0].endswith(" *") for row in rows):
            boards = [
                " ".join(filter(None, map(records[0].get("board", {}).get, ("board", "processor"))))
                for records in (before, after)
            ]
            print(f"* measured on different boards: {boards[0]}; {boards[1]}")


# Files


def _check_plot(plot: Path | None) -> None:
    if plot is None:
        return
    if plot.suffix not in (".svg", ".png", ".pdf"):
        raise typer.BadParameter(
            f"'{plot}', expected a name that ends in .svg, .png or .pdf", param_hint="--plot"
        )
    if importlib.util.find_spec("matplotlib") is None:
        raise EdgecatError(
            "a plot needs 'matplotlib'; install it with: pip install 'edgecat[plots]'"
        )


def _drawn(records: Sequence[Record], kind: str) -> bytes:
    from edgecat.measure.latency import STAGES
    from edgecat.report import plots

    staged = [record for record in records if "stages" in record]
    names = [
        f"{n}. {record['model']}, {record['num_threads']} thread{'s' * (record['num_threads'] > 1)}"
        for n, record in enumerate(staged, 1)
    ]
    with plots.style():
        figure, below, above = plots.figure_of(7, 4.5 + 0.4 * len(staged), 2)
        stages = [
            {stage: record["stages"][stage]["median_ms"] for stage in STAGES} for record in staged
        ]
        plots.draw_stages(below, dict(zip(names, stages, strict=True)))
        points = [
            plots.Point(
                str(n),
                100 * record["accuracy"],
                record["photo_to_answer"]["median_ms"],
                record["model_size_mb"] * 2**20 / 1e6,
            )
            for n, record in enumerate(staged, 1)
            if record["accuracy"] is not None
        ]
        plots.draw_accuracy_against_latency(
            above, points, "milliseconds from photo to answer", "accuracy by the model card, %"
        )
        return plots.as_file(figure, kind)


def _write(path: Path, content: bytes) -> None:
    """The whole file, or none."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise EdgecatError(
            f"{path}: cannot be written ({error.strerror}); give another name"
        ) from None
