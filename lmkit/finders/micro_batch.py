"""The largest micro-batch that fits into memory, with the time and the memory of each size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from lmkit.display.figure import COLOURS, Chart, Mark, Plot, Series
from lmkit.display.units import format_bytes, format_latency
from lmkit.exceptions import ConfigError, DataError, shorten
from lmkit.finders.trial import run_trial
from lmkit.run.resolve import resolve_experiment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmkit.experiment.experiment import Experiment
    from lmkit.finders.trial import Cancel, Progress, Steps

SIZES = 5
"""Sizes that are tried: the batch, and its halves."""

STEPS = 3
"""Steps that are timed for each size."""

GAIN = 1.05
"""A smaller micro-batch is suggested only where the largest is this much slower."""


class Trial(NamedTuple):
    """One size of a micro-batch.

    Attributes:
        rows: of the micro-batch.
        seconds: per step of the whole batch; NaN where it does not fit.
        bytes: memory of the device at its peak; on a processor, of the process.
        fits: whether the memory sufficed.
    """

    rows: int
    seconds: float
    bytes: int
    fits: bool


class MicroBatchTest(NamedTuple):
    """The result of ``lk.find_micro_batch``.

    Attributes:
        experiment: that was tried.
        batch_size: rows of a step.
        device: where.
        trials: one for each size, the smallest first.
        suggestion: the largest that fits; a smaller one where it is at least as fast.
        note: what is unusual, such as that it was cancelled.
    """

    experiment: Experiment
    batch_size: int
    device: str
    trials: tuple[Trial, ...]
    suggestion: int
    note: str = ""

    @property
    def text(self) -> str:
        """The result in words."""
        lines = [f"micro-batch {self.suggestion} of a batch of {self.batch_size}, on {self.device}"]
        for trial in self.trials:
            cost = (
                f"{format_latency(trial.seconds)} per step, {format_bytes(trial.bytes)}" if trial.fits else "no memory"
            )
            lines.append(f"{trial.rows:>6} rows: {cost}")
        use = "auto" if self.suggestion >= self.batch_size else str(self.suggestion)
        return "\n".join(filter(None, [*lines, f"use it: training.micro_batch: {use}", self.note]))

    @property
    def chart(self) -> Chart:
        """Time and memory over the rows of a micro-batch."""
        fitting = [trial for trial in self.trials if trial.fits]
        rows = [float(trial.rows) for trial in fitting]
        times = Series("time", rows, [1000 * trial.seconds for trial in fitting], COLOURS[0])
        memory = Series("memory", rows, [trial.bytes / 1e6 for trial in fitting], COLOURS[1])
        marks = (Mark(float(self.suggestion), f"{self.suggestion} rows"),)
        panels = (
            Plot("rows of a micro-batch", "ms per step", (times,), marks=marks, log_x=True),
            Plot("rows of a micro-batch", "memory, MB", (memory,), marks=marks, log_x=True),
        )
        title = f"Micro-batch {self.suggestion} of a batch of {self.batch_size}: {self.experiment.name}"
        return Chart(title, panels, self.text)

    @property
    def change(self) -> dict[str, Any]:
        """The path of the setting and its suggested value."""
        return {"training.micro_batch": None if self.suggestion >= self.batch_size else self.suggestion}

    def apply(self) -> Experiment:
        """Return the experiment with the suggested micro-batch."""
        return self.experiment.override(self.change)

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.chart._repr_mimebundle_(**options)

    def __repr__(self) -> str:
        return self.text


def find_micro_batch(
    experiment: Any = None,
    *,
    runs: str | Path | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    log: TextIO | None = None,
    **changes: Any,
) -> MicroBatchTest:
    """Find the largest micro-batch that fits into memory, and how long a step takes with smaller ones.

    The batch stays: gradients of its micro-batches are added up. Each size takes a few steps at learning rate 0 in a
    process of its own; no run is created.

    Args:
        experiment: what to try: an Experiment, a mapping, a file, or a run or its name.
        runs: the folder of the runs (default: $LMKIT_RUNS or ./runs).
        progress: called with a sentence after each size.
        cancel: an object of ``lmkit.finders.trial.Cancel``; when it is called, the test ends with what there is.
        log: where progress is written, once it takes longer than two seconds (default: the notebook or the terminal).
        **changes: parts of the experiment to change, such as ``batch_size=256``.

    Raises:
        ConfigError: the experiment is invalid.
        DataError: not even a single row fits.
        MeasurementFailed: the experiment cannot be trained, or not in micro-batches; the message says why.

    >>> import lmkit as lk
    >>> lk.find_micro_batch(data="digits", model="mlp:wide").suggestion  # doctest: +SKIP
    """
    if changes.get("micro_batch") is not None:
        raise ConfigError(
            [f"micro_batch: given {shorten(changes['micro_batch'])}, which is what is to be found; leave it out"]
        )
    spec = resolve_experiment(experiment, changes, runs=runs).override({"training.micro_batch": None})
    trials: list[Trial] = []
    batch_size, device = spec.data.batch_size, ""

    def measure(trial: Steps) -> Iterator[str]:
        nonlocal batch_size, device
        answer = trial.ask("load", experiment=spec.to_dict())
        batch_size, device = int(answer["batch_size"]), str(answer["device"])
        sizes = list_sizes(batch_size)
        for rows in sizes:
            trials.append(Trial(**trial.ask("measure", rows=rows, steps=STEPS)))
            yield f"micro-batch of {rows} rows: {len(trials)} of {len(sizes)}"
            if not trials[-1].fits:
                return

    note = run_trial(spec, measure, runs=runs, progress=progress, cancel=cancel, log=log)
    return read_trials(spec, batch_size, device, trials, note)


def list_sizes(batch_size: int) -> list[int]:
    """Return the sizes that are tried, the smallest first.

    >>> list_sizes(48)
    [3, 6, 12, 24, 48]
    """
    return sorted({math.ceil(batch_size / 2**i) for i in range(SIZES)})


def read_trials(experiment: Experiment, batch_size: int, device: str, trials: list[Trial], note: str) -> MicroBatchTest:
    """Return what the trials tell.

    Raises:
        DataError: none fits.
    """
    fitting = [trial for trial in trials if trial.fits]
    if not fitting:
        reason = note or "out of memory"
        raise DataError(
            f"no micro-batch was tried to its end ({reason}); `lmkit plan` says what would need less memory"
        )
    largest = fitting[-1]
    fastest = min(fitting, key=lambda trial: trial.seconds)
    best = fastest if largest.seconds > GAIN * fastest.seconds else largest
    return MicroBatchTest(experiment, batch_size, device, tuple(trials), best.rows, note)
