"""The measured resources of a run, compared with its plan."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lmkit.display.table import Table
from lmkit.display.units import format_bytes, format_count, format_latency
from lmkit.exceptions import ConfigError, RunStateError
from lmkit.planning import calibration
from lmkit.planning.devices import Device
from lmkit.planning.plan import Plan, estimate, threads
from lmkit.run.run import Run
from lmkit.runfolder.shards import array_files, array_shapes
from lmkit.runfolder.status import Status


def plan_of(run: Run) -> Plan:
    """Return the plan of a run for its data and device, with the cached speed of this machine.

    Raises:
        RunStateError: the run has not prepared its data yet.
    """
    spec, signature = run.experiment, run.preprocessing.signature
    environment = run.environment
    backend = environment.get("backend") or {}
    kind = str(backend.get("device", "cpu")).partition(":")[0]
    memory = backend.get("gpu_memory_bytes") if kind == "cuda" else environment.get("memory_bytes")
    device = Device(kind, "the machine of the run", memory or 0)
    speed = calibration.read_cache(spec.framework, spec.training.weight_dtype, threads(spec, signature))
    return estimate(spec, signature, _rows(run), device, speed)


def _rows(run: Run) -> int | None:
    """Return the rows of the run's data, from its bundled data set or the steps of its first epoch."""
    spec = run.experiment.data
    if spec.bundled:
        return spec.bundled.rows
    epochs = [e.data for e in run.events if e.type == "epoch"]
    has_first = epochs and epochs[0]["epoch"] == 1
    return round(epochs[0]["step"] * spec.batch_size / (1 - spec.validation - spec.test)) if has_first else None


def measure_usage(run: Run) -> dict[str, float | None]:
    """Return a run's parameters, peak memory_bytes, seconds_per_step and checkpoint_bytes; None if unknown.

    The steps of the first epoch, which include compilation, are left out if there are more.
    """
    checkpoint = run.folder.checkpoints / "last"
    shapes = array_shapes(checkpoint, "weights")
    files = [file for name in ("weights", "optimizer") for file in array_files(checkpoint, name)]
    epochs = [e.data for e in run.events if e.type == "epoch"]
    seconds = None
    if len(epochs) > 1:
        seconds = (epochs[-1]["seconds"] - epochs[0]["seconds"]) / (epochs[-1]["step"] - epochs[0]["step"])
    elif run.status.step:
        seconds = run.status.seconds / run.status.step
    return {
        "parameters": None if shapes is None else sum(map(math.prod, shapes.values())),
        "memory_bytes": _peak_memory(run.status) or None,
        "seconds_per_step": seconds,
        "checkpoint_bytes": sum(file.stat().st_size for file in files) or None,
    }


def _peak_memory(status: Status) -> int:
    """Return the bytes that a plan speaks of: of the GPU where there is one, else of the process."""
    return status.device_peak_memory if status.device.startswith("cuda") else status.peak_memory


def usage_table(run: Run) -> Table:
    """Tabulate planned and measured resources and their ratio; without rows if the run has no model."""
    title = f"Planned and measured: {run.name}"
    columns = ("quantity", "planned", "measured", "ratio")
    try:
        plan, usage = plan_of(run), measure_usage(run)
    except (ConfigError, RunStateError):  # a custom model, or no data was prepared
        return Table(title, columns, ())
    quantities: dict[str, tuple[Any, Callable[[float], str], str]] = {
        "parameters": (plan.parameters, format_count, "parameters"),
        "memory_bytes": (plan.memory_bytes["total"], format_bytes, "peak memory"),
        "checkpoint_bytes": (plan.checkpoint_bytes, format_bytes, "checkpoint size"),
        "seconds_per_step": (plan.seconds_per_step, format_latency, "time per step"),
    }
    rows = []
    for name, (expected, format_value, label) in quantities.items():
        actual = usage[name]
        ratio = actual / expected if actual and expected else None
        rows.append((label, expected and format_value(expected), actual and format_value(actual), ratio))
    return Table(title, columns, tuple(rows))
