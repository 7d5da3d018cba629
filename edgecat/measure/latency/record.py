"""The record of a measured configuration: one JSON object."""

from __future__ import annotations

import statistics
from importlib.metadata import version
from typing import Any, TypeAlias

from edgecat.errors import EdgecatError
from edgecat.formats import detect
from edgecat.measure.latency.cold_start import MEMORY
from edgecat.measure.latency.measurement import Measurement
from edgecat.measure.latency.series import summarise
from edgecat.measure.latency.stages import STAGES
from edgecat.measure.network.inspection import inspect
from edgecat.measure.network.network import Network
from edgecat.measure.peak import peak_gmacs

Record: TypeAlias = "dict[str, Any]"

FORMAT_VERSION = 1


def build_record(measurement: Measurement) -> Record:
    """Return what was measured. The series `measurement.invoke` has at least one run.

    Figures that were not measured, or that the machine does not report, are left out.
    """
    configuration, invoke = measurement.configuration, measurement.invoke
    card, model = measurement.classifier.card, configuration.model
    network = _network(measurement)
    latency = summarise(times[0] for times in invoke.times)
    cold, memory = _cold(measurement)
    record: Record = {
        "format_version": FORMAT_VERSION,
        "program": f"edgecat bench {version('edgecat')}",
        "model": model.name,
        "model_size_mb": round(model.stat().st_size / 2**20, 2),
        "sha256": card.sha256,
        "architecture": card.architecture,
        "precision": card.precision,
        "accuracy": card.evaluation.get("accuracy") if card.evaluation else None,
        "height": card.input.height,
        "width": card.input.width,
        "engine": measurement.classifier.engine,
        "device": configuration.device,
        "runs_on": measurement.classifier.runs_on,
        "accelerators": [configuration.device.upper()],
        # True for every accelerator: an engine that leaves parts to the CPU is refused.
        "fully_accelerated": configuration.device != "cpu",
        # LiteRT's own name for the signature of a file that has none.
        "signature": (network.signature if network else "") or "serving_default",
        "num_threads": configuration.threads,
        "batch": configuration.batch,
        "cores_used": round(invoke.processor / invoke.wall, 2),
        "latency": {},
        "throughput_mb_s": round(measurement.input_bytes / 2**20 / latency["avg_ms"] * 1000, 2),
        "inferences_per_s": round(1000 * configuration.batch / latency["median_ms"], 2),
    }
    if cold:
        record["cold"] = {**cold, "num_starts": len(measurement.cold)}
        record["latency"] = {
            "init_ms": cold["open_ms"],
            "warmup_first_ms": cold["first_inference_ms"],
        }
    record["latency"] |= {
        "warmup_avg_ms": round(statistics.mean(invoke.warm_up), 4),
        "num_warmup_runs": len(invoke.warm_up),
        **latency,
    }
    if measurement.whole.times:
        record |= _stages(measurement)
    if measurement.throughput:
        record["throughput"] = measurement.throughput
    if memory:
        record["memory"] = memory
    record |= _work(measurement, network, latency["median_ms"])
    if measurement.energy:
        record["energy"] = measurement.energy
    record["stable"] = invoke.stable
    return record


def _cold(measurement: Measurement) -> tuple[dict[str, float], dict[str, float]]:
    """Return the medians of the cold starts: milliseconds, and megabytes of memory."""
    medians = {}
    for key in measurement.cold[0] if measurement.cold else ():
        values = [value for start in measurement.cold if (value := start[key]) is not None]
        if values:
            medians[key] = round(statistics.median(values), 3)
    memory = {key: medians.pop(key) for key in MEMORY if key in medians}
    return medians, memory


def _stages(measurement: Measurement) -> Record:
    times = measurement.whole.times
    stages = [summarise(of_stage) for of_stage in zip(*times, strict=True)]
    return {
        "stages": dict(zip(STAGES, stages, strict=True)),
        "photo_to_answer": summarise(map(sum, times)),
    }


def _network(measurement: Measurement) -> Network | None:
    """Return None if the file cannot be looked into: the library that reads it is missing."""
    try:
        return inspect(measurement.configuration.model).network
    except EdgecatError:
        return None


def _work(measurement: Measurement, network: Network | None, median_ms: float) -> Record:
    """Return multiply-accumulates, how many a second, and the machine's peak, as known."""
    record: Record = {}
    macs = network.macs if network else None
    gmacs_per_s = macs * measurement.configuration.batch / median_ms / 1e6 if macs else None
    peak = _peak_gmacs(measurement)
    if macs and gmacs_per_s:
        record |= {"macs": macs, "gmacs_per_s": round(gmacs_per_s, 3)}
    if peak:
        record["peak_gmacs_per_s"] = round(peak, 1)
    if peak and gmacs_per_s:
        record["share_of_peak"] = round(gmacs_per_s / peak, 4)
    return record


def _peak_gmacs(measurement: Measurement) -> float | None:
    configuration = measurement.configuration
    if configuration.device != "cpu" or detect(configuration.model) != "tflite":
        return None
    int8 = measurement.classifier.card.precision == "int8"
    return peak_gmacs(configuration.engine, configuration.threads, int8)
