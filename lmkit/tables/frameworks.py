"""The framework comparison: initial weights, first losses, and speed of one experiment in two frameworks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmkit.backends import get_backend
from lmkit.display.table import FormattedNumber, Table
from lmkit.display.units import format_duration
from lmkit.exceptions import DataError
from lmkit.run.runs import labels

if TYPE_CHECKING:
    from lmkit.run.run import Run

FIRST_STEPS = 10
"""Number of the step at which the losses of runs are compared a second time."""


def same_start(runs: Sequence[Run]) -> Table:
    """Compare the initial weights and the first losses of runs in different frameworks.

    Each framework builds the model again, loads the experiment's initial weights and returns them. The recorded losses
    are compared at the first step, before any update, and at the tenth.

    Raises:
        DataError: fewer than two runs were passed, or one has not prepared its data yet.
    """
    if len(runs) < 2:
        raise DataError(f"given {len(runs)} run, expected two or more, one per framework")
    models = [_initial_weights(run) for run in runs]
    losses = [run.steps["loss"].to_numpy() for run in runs]
    rows: list[tuple[Any, ...]] = [_weights_row(models)]
    for step in (1, FIRST_STEPS):
        if all(len(loss) >= step for loss in losses):
            values = [float(loss[step - 1]) for loss in losses]
            numbers = (FormattedNumber(v, f"{v:.7g}") for v in values)
            rows.append((f"loss at step {step}", *numbers, _difference_text(max(values) - min(values))))
    return Table("Initial state", ("quantity", *labels(runs), "largest difference"), tuple(rows))


def _initial_weights(run: Run) -> Mapping[str, Any]:
    """The weights that the run's framework holds before the first step; empty for a custom model."""
    experiment, signature = run.experiment, run.preprocessing.signature
    initial = experiment.model.initial_weights(signature, experiment.seed)
    if not initial:
        return {}
    backend = get_backend(experiment.framework)
    model = backend.build(experiment.model, signature, experiment.training.weight_dtype)
    backend.set_weights(model, initial)
    weights: Mapping[str, Any] = backend.weights(model)
    return weights


def _weights_row(models: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    """The number of parameters of each model, and the largest difference between their weights."""
    import numpy as np

    if not all(models):
        sources = ("lmkit" if weights else "custom model" for weights in models)
        return ("initial weights", *sources, "not comparable")
    first, *others = models
    sizes = [sum(int(np.size(w)) for w in weights.values()) for weights in models]
    comparable = len(set(sizes)) == 1 and all(set(weights) == set(first) for weights in others)
    difference = 0.0 if comparable else float("inf")
    for name, value in first.items() if comparable else ():
        difference = max(
            difference, *(float(np.abs(np.asarray(weights[name]) - value).max(initial=0.0)) for weights in others)
        )
    return ("initial weights", *(f"{n:,} parameters" for n in sizes), _difference_text(difference))


def speed(runs: Sequence[Run]) -> Table:
    """Compare the speed of runs: training time, mean steps and rows per second, peak memory."""
    statuses = [run.status for run in runs]
    batch_sizes = [run.experiment.data.batch_size for run in runs]
    rates = [status.step / status.seconds if status.seconds else None for status in statuses]
    rows: list[tuple[Any, ...]] = [
        ("training time", *(FormattedNumber(s.seconds, _duration_text(s.seconds)) for s in statuses)),
        ("steps per second", *rates),
        ("rows per second, approx.", *(r and round(r * n) for r, n in zip(rates, batch_sizes, strict=True))),
        ("time per step, ms", *(r and 1e3 / r for r in rates)),
        ("peak memory of the process, MB", *(s.peak_memory / 1e6 or None for s in statuses)),
    ]
    if any(s.device_peak_memory for s in statuses):
        rows.append(("peak memory of the GPU, MB", *(s.device_peak_memory / 1e6 or None for s in statuses)))
    return Table("Speed", ("quantity", *labels(runs)), tuple(rows))


def _duration_text(seconds: float) -> str:
    """A duration with two digits below a second, so that two runs can be compared."""
    return f"{seconds:.2g} s" if 0 < seconds < 1 else format_duration(seconds)


def _difference_text(value: float) -> str:
    return "none" if value == 0 else f"{value:.2g}" if value < float("inf") else "different parameters"
