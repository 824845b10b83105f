"""What a run took, beside what was planned."""

from __future__ import annotations

from typing import Any

from lmkit.errors import ConfigError, RunStateError
from lmkit.planning import calibration
from lmkit.planning.devices import Device, amount_text
from lmkit.planning.plan import Plan, planned, threads
from lmkit.planning.words import count_text, seconds_text
from lmkit.run import Run
from lmkit.table import Table


def plan_of(run: Run) -> Plan:
    """The plan of a run, made afterwards: for its own data and device, with what was measured of this machine before.

    Raises:
        RunStateError: it has not prepared its data yet.
    """
    spec, signature = run.experiment, run.preprocessing.signature
    told = run.environment
    kind = "cuda" if str((told.get("backend") or {}).get("device", "cpu")).startswith("cuda") else "cpu"
    device = Device(kind, "the machine that it ran on", told.get("memory_bytes") or 0)
    speed = calibration.cached(spec.framework, spec.training.precision, threads(spec, signature))
    return planned(spec, signature, _rows(run), device, speed)


def _rows(run: Run) -> int | None:
    """Rows of its data: known beforehand, or told by the steps of an epoch."""
    spec = run.experiment.data
    if spec.bundled:
        return spec.bundled.rows
    epochs = [e.data for e in run.events if e.type == "epoch"]
    whole = epochs and epochs[0]["epoch"] == 1
    return round(epochs[0]["step"] * spec.batch_size / (1 - spec.validation - spec.test)) if whole else None


def measured(run: Run) -> dict[str, float | None]:
    """What a run took: parameters, memory_bytes at the peak, seconds_per_step, checkpoint_bytes; None: not known.

    The first epoch's steps do not count where there are more, for they include compilation.
    """
    weights = run.folder.checkpoints / "last" / "weights.safetensors"
    optimizer = weights.with_name("optimizer.safetensors")
    epochs = [e.data for e in run.events if e.type == "epoch"]
    each = None
    if len(epochs) > 1:
        each = (epochs[-1]["seconds"] - epochs[0]["seconds"]) / (epochs[-1]["step"] - epochs[0]["step"])
    elif run.status.step:
        each = run.status.seconds / run.status.step
    return {
        "parameters": _numbers(weights) if weights.is_file() else None,
        "memory_bytes": run.status.peak_memory or None,
        "seconds_per_step": each,
        "checkpoint_bytes": sum(f.stat().st_size for f in (weights, optimizer) if f.is_file()) or None,
    }


def _numbers(file: Any) -> int:
    """How many numbers a safetensors file holds."""
    import math

    from safetensors import safe_open

    with safe_open(file, framework="numpy") as arrays:
        return sum(math.prod(arrays.get_slice(name).get_shape()) for name in arrays.keys())  # noqa: SIM118


def table(run: Run) -> Table:
    """Planned against measured, and their ratio; without rows where it never came to have a model."""
    title = f"Planned and measured: {run.name}"
    columns = ("what", "planned", "measured", "ratio")
    try:
        plan, found = plan_of(run), measured(run)
    except (ConfigError, RunStateError):  # a model of one's own, or no data was prepared
        return Table(title, columns, ())
    planned_of = {
        "parameters": (plan.parameters, count_text, "parameters"),
        "memory_bytes": (plan.memory_bytes["total"], amount_text, "memory at the peak"),
        "checkpoint_bytes": (plan.checkpoint_bytes, amount_text, "a checkpoint"),
        "seconds_per_step": (plan.seconds_per_step, seconds_text, "time a step"),
    }
    rows = []
    for name, (expected, text, words) in planned_of.items():
        took = found[name]
        ratio = took / expected if took and expected else None
        rows.append((words, expected and text(expected), took and text(took), ratio))
    return Table(title, columns, tuple(rows))
