"""The plan of an experiment: its numbers, and how it displays itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lmkit.backends.facts import TYPICAL
from lmkit.backends.threads import threads_for
from lmkit.data.batches import steps_per_epoch
from lmkit.data.kinds import get_kind
from lmkit.data.tables.sources import check_sizes, part_sizes
from lmkit.display.progress_line import ProgressLine
from lmkit.display.table import Table
from lmkit.display.units import format_bytes, format_count, format_duration, format_flops, format_latency
from lmkit.exceptions import ConfigError
from lmkit.experiment.experiment import Experiment
from lmkit.planning import calibration, sharding
from lmkit.planning.assumptions import list_assumptions
from lmkit.planning.counting import Cost, checkpoint_bytes, costs, group_by_kind
from lmkit.planning.devices import Device, find_device
from lmkit.planning.inputs import check_device_counts, read_signature
from lmkit.planning.memory import CONTEXT, KINDS, MEANINGS, estimate_memory
from lmkit.planning.sharding import sharded_table
from lmkit.planning.suggestions import Suggestion, describe_verdict, suggest
from lmkit.planning.timing import Speed, seconds_per_epoch, seconds_per_step, seconds_until_start
from lmkit.run.resolve import resolve_experiment
from lmkit.specs.models.base import Layer
from lmkit.specs.signature import Signature

LARGE = 10**9
"""Parameters from which a plan holds a table over many devices by default."""


@dataclass(frozen=True)
class Plan:
    """The resources that an experiment needs, and whether it fits.

    Attributes:
        experiment: the experiment that is planned.
        signature: the inputs and outputs of its model.
        device: the device that it is planned for.
        layers: the costs of each layer in a training step, the loss last.
        parameters: the number of trainable parameters.
        memory_bytes: peak memory by kind, and its ``total``.
        flops_per_step: floating-point operations in matrix products, forward and backward.
        checkpoint_bytes: size of the files of one checkpoint; a run keeps two, the last and the best.
        steps: steps of the whole run; None if unknown.
        seconds_per_step, seconds_total: estimates for this machine; None if its speed was not measured.
        remedies: suggestions that need less memory.
        sharded: layouts over many devices, if requested or if the model is large.
        verdict: ``fits``, ``fits with …`` or ``does not fit``.
        assumed: the assumptions of the numbers, a sentence each.
    """

    experiment: Experiment
    signature: Signature
    device: Device
    layers: tuple[Cost, ...]
    parameters: int
    memory_bytes: dict[str, int]
    flops_per_step: int
    checkpoint_bytes: int
    steps: int | None
    seconds_per_step: float | None
    seconds_total: float | None
    remedies: tuple[Suggestion, ...]
    sharded: tuple[sharding.Layout, ...]
    verdict: str
    assumed: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the experiment fits as it is."""
        return self.verdict == "fits"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "name": self.experiment.name,
            "framework": self.experiment.framework,
            "parameters": self.parameters,
            "memory_bytes": dict(self.memory_bytes),
            "flops_per_step": self.flops_per_step,
            "checkpoint_bytes": self.checkpoint_bytes,
            "steps": self.steps,
            "seconds_per_step": self.seconds_per_step,
            "seconds_total": self.seconds_total,
            "device": self.device._asdict(),
            "verdict": self.verdict,
            "remedies": [suggestion._asdict() for suggestion in self.remedies],
            "layers": [cost.to_dict() for cost in self.layers],
            "sharded": [layout._asdict() for layout in self.sharded],
            "assumed": list(self.assumed),
        }

    # -- display ----------------------------------------------------------------------------------

    @property
    def sentence(self) -> str:
        """The verdict with its numbers."""
        total, available = format_bytes(self.memory_bytes["total"]), format_bytes(self.device.memory)
        needs = "needs" if self.fits else "unchanged, it needs"
        return f"{self.verdict[0].upper()}{self.verdict[1:]}: {needs} about {total}; {available} available."

    @property
    def numbers(self) -> Table:
        """The numbers of the plan."""
        kinds = self.memory_bytes
        rows: list[tuple[str, Any, str]] = [
            ("parameters", format_count(self.parameters), "trainable parameters"),
            *((f"memory: {kind}", format_bytes(kinds[kind]), MEANINGS[kind]) for kind in KINDS if kinds[kind]),
            ("total memory", format_bytes(kinds["total"]), "peak"),
            ("operations per step", format_flops(self.flops_per_step), "in matrix products, forward and backward"),
            ("checkpoint size", format_bytes(self.checkpoint_bytes), "on disk; a run keeps two, the last and the best"),
        ]
        if self.steps:
            rows.append(("steps", f"{self.steps:,}", "of the whole run"))
        if self.seconds_per_step:
            rows.append(("time per step", format_latency(self.seconds_per_step), "estimated for this machine"))
        if self.seconds_total:
            rows.append(("total time", format_duration(self.seconds_total), "estimated for this machine"))
        return Table(f"Plan of {self.experiment.name}", ("quantity", "value", "meaning"), tuple(rows))

    @property
    def by_kind(self) -> Table:
        """The costs of the layers, grouped by kind."""
        rows = [
            (
                kind,
                len(group),
                format_count(sum(cost.parameters for cost in group)),
                format_flops(sum(cost.flops for cost in group)),
                format_bytes(sum(cost.saved_activations for cost in group)),
            )
            for kind, group in group_by_kind(self.layers)
        ]
        columns = ("kind", "layers", "parameters", "operations per step", "kept for the backward pass")
        return Table("Layers", columns, tuple(rows))

    @property
    def ways(self) -> Table:
        """The suggestions that need less memory."""
        rows = [
            (
                suggestion.name,
                format_bytes(suggestion.total),
                f"{suggestion.time:.2g} ×",
                "yes" if suggestion.fits else "no",
                f"{suggestion.sentence}. "
                + (f"Use {suggestion.does}." if suggestion.does else "Not available in lmkit."),
            )
            for suggestion in self.remedies
        ]
        return Table("Ways to reduce memory", ("change", "memory", "time per step", "fits", "effect"), tuple(rows))

    @property
    def over_devices(self) -> Table:
        """The memory of each of many devices, by strategy."""
        return sharded_table(self.sharded)

    @property
    def tables(self) -> list[Table]:
        """The tables that are displayed."""
        tables = [self.numbers]
        if not self.fits:
            tables += [self.by_kind, self.ways]
        return [*tables, *([self.over_devices] if self.sharded else [])]

    @property
    def text(self) -> str:
        """The plan as text."""
        assumptions = "\n".join(f"* {sentence}" for sentence in self.assumed)
        return "\n\n".join([self.sentence, *(table.text for table in self.tables), assumptions])

    @property
    def html(self) -> str:
        """The plan as HTML without scripts."""
        import html

        tables = "\n".join(table.html for table in self.tables)
        assumptions = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self.assumed)
        return f"<p><b>{html.escape(self.sentence)}</b></p>\n{tables}\n<ul>{assumptions}</ul>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.text}

    def __repr__(self) -> str:
        return self.text


def plan(
    experiment: Any = None,
    *,
    device: str | None = None,
    memory: str | float | None = None,
    devices: int | tuple[int, ...] | None = None,
    calibrate: bool | Literal["cached"] = True,
    vocabulary: int | None = None,
    length: int | None = None,
    runs: str | Path | None = None,
    **changes: Any,
) -> Plan:
    """Estimate the memory, arithmetic, storage and time that an experiment needs, without building its model.

    Args:
        experiment: an Experiment, a mapping, a run, the path of a .yaml file, a run's name, or a model such as
            ``transformer:gpt2``.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; default: that of the experiment.
        memory: memory of the device, such as ``24 GB``; default: the memory that is available now.
        devices: counts of devices for the table of large models and for sharding; default: 1, 8 and 64 for models of
            10⁹ parameters and more.
        calibrate: whether to measure the speed of this machine, if it was not measured before; ``cached``: use an
            earlier measurement only; False: no times.
        vocabulary, length: of the texts, instead of those of the data.
        runs: the folder of runs.
        **changes: parts of the experiment to change, such as ``epochs=3`` or ``model="mlp:wide"``.

    Raises:
        ConfigError: the experiment is invalid, does not fit its data, or the device does not exist.
        DataError: the data cannot be trained on.
        RunNotFound: no file, model or run has that name.

    >>> import lmkit as lk
    >>> lk.plan(model="mlp:small", data="digits", calibrate=False).parameters
    8970
    """
    resolved = resolve_experiment(experiment, changes, runs=runs)
    counts = check_device_counts(devices)
    target = find_device(device or resolved.training.device, memory)
    signature, rows = read_signature(resolved, vocabulary, length, runs)
    if rows and get_kind(resolved.data).has_row_split:
        check_sizes(resolved.data, rows)
    speed = None
    if calibrate:
        list_layers(resolved, signature)  # what cannot be planned is said before the machine is measured
        conditions = resolved.framework, resolved.training.weight_dtype, threads(resolved, signature)
        speed = calibration.read_cache(*conditions) if calibrate == "cached" else _measure_speed(*conditions)
    return estimate(resolved, signature, rows, target, speed, counts)


def _measure_speed(framework: str, precision: str, threads: int) -> Speed:
    line = ProgressLine()
    try:
        return calibration.calibrate(framework, precision, threads, line.show)
    finally:
        line.clear()


def list_layers(experiment: Experiment, signature: Signature) -> list[Layer]:
    """Return the layers of an experiment's model.

    Raises:
        ConfigError: the model does not fit the data, or its layers are unknown before it is built.
    """
    experiment.model.check(signature)
    layers = experiment.model.layers(signature)
    if not layers:
        raise ConfigError(
            [
                f"model.family: the layers of {experiment.model.family!r} are unknown before it is built, so it cannot "
                "be planned; train it for a few steps, training: {steps: 20}, and use lk.tables.planned(run)"
            ]
        )
    return layers


def estimate(
    experiment: Experiment,
    signature: Signature,
    rows: int | None,
    device: Device,
    speed: Speed | None = None,
    devices: tuple[int, ...] | None = None,
) -> Plan:
    """Compute a plan from its inputs; no data is read, and nothing is measured.

    Args:
        experiment: the experiment.
        signature: the inputs and outputs of its model.
        rows: rows of the data; None if unknown.
        device: the device that it is planned for.
        speed: the speed of the machine, if it was measured.
        devices: counts of devices.

    Raises:
        ConfigError: the model does not fit the data, or its layers are unknown before it is built.
    """
    layers = list_layers(experiment, signature)
    training, batch_size = experiment.training, experiment.data.batch_size
    heads = getattr(experiment.model, "heads", 0)
    layer_costs = costs(layers, signature, batch_size, experiment.framework, training.weight_dtype, heads)
    sizes = part_sizes(experiment.data, rows) if rows else {}
    on_host = device.kind != "cuda"
    base = (speed.memory if speed else TYPICAL[experiment.framework]) if on_host else CONTEXT
    kinds = estimate_memory(layer_costs, signature, experiment, sizes, on_host, base)
    per_epoch = steps_per_epoch(sizes["training"], batch_size) if sizes else None
    steps = training.epochs * per_epoch if per_epoch else None
    steps = min(filter(None, (steps, training.steps)), default=None)
    parameters = sum(cost.parameters for cost in layer_costs)
    suggestions = suggest(kinds, layer_costs, experiment, device.memory, devices or sharding.COUNTS)
    layouts = _shard(experiment, signature, parameters, devices)
    return Plan(
        experiment=experiment,
        signature=signature,
        device=device,
        layers=tuple(layer_costs),
        parameters=parameters,
        memory_bytes=kinds,
        flops_per_step=sum(cost.flops for cost in layer_costs),
        checkpoint_bytes=checkpoint_bytes(layers, training.optimizer, experiment.framework, training.weight_dtype),
        steps=steps,
        seconds_per_step=seconds_per_step(layer_costs, speed) if speed else None,
        seconds_total=_total_seconds(layer_costs, speed, experiment, sizes, steps) if speed and steps else None,
        remedies=tuple(suggestions),
        sharded=tuple(layouts),
        verdict=describe_verdict(suggestions, kinds["total"], device.memory),
        assumed=tuple(
            list_assumptions(
                experiment,
                signature,
                device,
                speed=speed,
                threads=threads(experiment, signature),
                knows_rows=bool(sizes),
                is_sharded=bool(layouts),
            )
        ),
    )


def _total_seconds(
    layer_costs: Sequence[Cost], speed: Speed, experiment: Experiment, sizes: dict[str, int], steps: int
) -> float:
    """Return the seconds of a whole run, at most its time limit."""
    batch_size = experiment.data.batch_size
    per_epoch = steps_per_epoch(sizes["training"], batch_size) if sizes else None
    epochs = math.ceil(steps / per_epoch) if per_epoch else 1
    total = seconds_until_start(layer_costs, speed) + steps * seconds_per_step(layer_costs, speed)
    total += epochs * seconds_per_epoch(layer_costs, speed, batch_size, sizes)
    return min(filter(None, (total, experiment.training.seconds)))


def _shard(
    experiment: Experiment, signature: Signature, parameters: int, devices: tuple[int, ...] | None
) -> list[sharding.Layout]:
    """Return the layouts over many devices of a transformer that is large, or for which counts were given."""
    counts = devices or (sharding.COUNTS if parameters >= LARGE else ())
    if not counts or experiment.model.family != "transformer":
        return []
    return sharding.list_layouts(experiment.model, signature, parameters, counts=counts)


def threads(experiment: Experiment, signature: Signature) -> int:
    """Return the threads of one operation that the run would use; 0: as many as the framework uses by default."""
    return threads_for(experiment.model, signature, experiment.data.batch_size, experiment.training.threads)
