"""Records of latencies as tables for a person: rows of text, the first row the headings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from edgecat.measure.latency.comparison import compare
from edgecat.measure.latency.published import BOARDS
from edgecat.measure.latency.record import Record
from edgecat.measure.latency.stages import STAGES

Table: TypeAlias = "list[list[str]]"

NONE = "-"  # what was not measured
_CONFIGURATION = ["threads", "batch"]


def tables(records: Sequence[Record]) -> list[Table]:
    """Return the tables that have something to show, in the order to print them."""
    here = [record for record in records if record["device"] != "cloud"]
    optional = [_stages(here), _machine(here), _published(here), _network(here), _cloud(records)]
    return [_latency(records), *(table for table in optional if len(table) > 1)]


def comparison_table(pairs: Iterable[tuple[Record, Record]]) -> Table:
    """Return the medians before and after. The name of another board's model ends in " *"."""
    table = [
        [
            "median ms",
            *_CONFIGURATION,
            *("engine before", "after", "ratio"),
            *("photo before", "after", "ratio"),
            *("cold before", "after", "ratio"),
        ]
    ]
    for one, other in pairs:
        compared = compare(one, other)
        name, *configuration = _configuration(other)
        cells = []
        for old, new in compared["median_ms"].values():
            known = old and new
            cells += [_ms(old), _ms(new), f"{new / old:.3f}"] if known else [NONE] * 3
        table.append([name + ("" if compared["same_board"] else " *"), *configuration, *cells])
    return table


def _latency(records: Sequence[Record]) -> Table:
    figures = ("min", "median", "mean", "p90", "p95", "p99", "max")
    table = [
        [
            "engine, ms a run",
            *_CONFIGURATION,
            *figures,
            *("runs", "outliers", "engine", "runs on"),
        ]
    ]
    for record in records:
        latency = record["latency"]
        keys = ("avg_ms" if figure == "mean" else f"{figure}_ms" for figure in figures)
        table.append(
            [
                *_configuration(record),
                *(_ms(latency[key]) for key in keys),
                str(latency["num_runs"]),
                str(latency["outliers"]),
                record["engine"],
                record.get("runs_on", NONE),
            ]
        )
    return table


def _stages(records: Sequence[Record]) -> Table:
    table = [
        [
            "photo to answer, median ms",
            *_CONFIGURATION,
            *STAGES,
            *("whole", "p99", "photos/s", "all cores"),
        ]
    ]
    for record in records:
        if "stages" in record:
            whole, throughput = record["photo_to_answer"], record.get("throughput", {})
            table.append(
                [
                    *_configuration(record),
                    *(_ms(record["stages"][stage]["median_ms"]) for stage in STAGES),
                    _ms(whole["median_ms"]),
                    _ms(whole["p99_ms"]),
                    _number(throughput.get("one_worker_per_s")),
                    _number(throughput.get("all_cores_per_s")),
                ]
            )
    return table


def _machine(records: Sequence[Record]) -> Table:
    table = [
        [
            "cold start ms, memory MB",
            *_CONFIGURATION,
            *("cold start", "opening", "first run"),
            *("peak memory", "steady"),
            *("size", "MACs", "of the machine's peak", "energy a run"),
        ]
    ]
    for record in records:
        memory, latency = record.get("memory", {}), record["latency"]
        table.append(
            [
                *_configuration(record),
                _ms(record.get("cold", {}).get("total_ms")),
                _ms(latency.get("init_ms")),
                _ms(latency.get("warmup_first_ms")),
                _number(memory.get("peak_mb")),
                _number(memory.get("steady_mb")),
                f"{record['model_size_mb']:.2f} MiB",
                *_work(record),
                f"{record['energy']['mj_per_inference']:.2f} mJ" if "energy" in record else NONE,
            ]
        )
    return table


def _work(record: Record) -> list[str]:
    """Return the multiply-accumulates, and the share of the machine's peak."""
    macs = f"{record['macs'] / 1e6:.1f} M" if record.get("macs") else NONE
    if "share_of_peak" not in record:
        return [macs, NONE]
    return [macs, f"{record['share_of_peak']:.0%} of {record['peak_gmacs_per_s']:.0f} G/s"]


def _published(records: Sequence[Record]) -> Table:
    rows: dict[tuple[str, ...], None] = {}  # each once, in order
    for record in records:
        if "published" in record:
            board = BOARDS[record["published"]["as"]].name
            figure = record["published"]["nearest"]
            if figure:
                cells = (f"{board}: {figure['model']}", _ms(figure["latency_ms"]), figure["source"])
            else:
                cells = (f"{board}: none of {record['architecture']}", NONE, NONE)
            rows[(cells[0], record["model"], *cells[1:])] = None
    return [["PUBLISHED by others, not measured here", "for", "ms", "source"], *map(list, rows)]


def _network(records: Sequence[Record]) -> Table:
    table = [
        [
            "COMPUTED: Cloud Vision at least",
            *_CONFIGURATION,
            *("upload", "a photo", "here", "a million photos", "here"),
            "here wins on any network with",
        ]
    ]
    for record in records:
        network = record.get("network")
        if network:
            million = network["million_photos"]
            hours = f", {million['here_hours']:.1f} h" if "here_hours" in million else ""
            table.append(
                [
                    *_configuration(record),
                    f"{network['upload_bytes'] / 1e3:.0f} kB",
                    f"{network['least_ms']:.1f} ms",
                    f"{network['here_ms']:.1f} ms",
                    f"${million['cloud_usd']:,.2f}, {million['cloud_hours']:.1f} h",
                    f"$0{hours}",
                    f"a round trip from {network['here_wins_from_rtt_ms']:.1f} ms, "
                    f"or an uplink below {network['here_wins_below_mbit_per_s']:.1f} Mbit/s",
                ]
            )
    return table


def _cloud(records: Sequence[Record]) -> Table:
    table = [["asked for real", "upload", "a photo", "at once", "of so many", "units paid for"]]
    for record in records:
        if record["device"] == "cloud":
            batches = record["batches"]
            table.append(
                [
                    record["model"],
                    f"{record['upload_bytes'] / 1e3:.0f} kB",
                    f"{_ms(record['latency']['median_ms'])} ms",
                    str(batches["photos"]),
                    f"{_ms(batches['latency']['median_ms'])} ms",
                    str(record["units_paid_for"]),
                ]
            )
    return table


def _configuration(record: Record) -> list[str]:
    return [record["model"], str(record["num_threads"]), str(record["batch"])]


def _ms(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}"
