"""The learning-rate range test: the loss while the rate rises from step to step (Smith, 2017, section 3.3)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import numpy as np

from lmkit.display.figure import COLOURS, Chart, Mark, Plot, Series
from lmkit.exceptions import ConfigError, DataError, shorten
from lmkit.finders.trial import run_trial
from lmkit.run.resolve import resolve_experiment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmkit.experiment.experiment import Experiment
    from lmkit.finders.trial import Cancel, Progress, Steps

LOWEST, HIGHEST, STEPS = 1e-6, 10.0, 120
"""The range of rates, and the steps over which the rate rises through it in equal factors."""

CALL_STEPS = 10
"""Steps between two reports of progress."""

MEMORY = 0.9
"""Weight of the past in the smoothed loss, corrected for its start as in Adam."""

DIVERGED = 4.0
"""The test ends where the smoothed loss is this many times its lowest value."""

WINDOW = 5
"""Steps before and after a step over which the fall of the smoothed loss is measured."""

FEWEST = 10
"""Steps from which a curve tells anything."""


class LearningRateTest(NamedTuple):
    """The result of ``lk.find_learning_rate``.

    Attributes:
        experiment: that was tried, with its own rate.
        rates: (steps,), the learning rate of each step.
        losses: (steps,), the loss of each step, before its update.
        smoothed: (steps,), their running mean.
        suggestion: the rate at which the smoothed loss falls fastest.
        lowest: the rate of the lowest smoothed loss, above which training soon diverges.
        note: what is unusual, such as that it was cancelled.
    """

    experiment: Experiment
    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float
    lowest: float
    note: str = ""

    @property
    def text(self) -> str:
        """The result in words."""
        return "\n".join(
            filter(
                None,
                [
                    f"learning rate {self.suggestion:.2g}: there the loss falls fastest "
                    f"(range test of {len(self.rates)} steps; lowest loss at {self.lowest:.2g})",
                    f"use it: training.optimizer.lr: {self.suggestion:.2g}",
                    self.note,
                ],
            )
        )

    @property
    def chart(self) -> Chart:
        """The loss over the learning rate; as a plotly figure it is ``chart.figure``."""
        rates = self.rates.tolist()
        top = float(self.smoothed[0]) * 1.5 if len(self.smoothed) else 1.0
        losses = [min(float(v), top * DIVERGED) for v in self.losses]
        series = (
            Series("per step", rates, losses, COLOURS[0], "faint"),
            Series("smoothed", rates, self.smoothed.tolist(), COLOURS[0]),
        )
        marks = (Mark(self.suggestion, f"{self.suggestion:.2g}"),)
        first, lowest = (float(self.smoothed[0]), float(self.losses.min())) if len(losses) else (0.0, 0.0)
        fall = first - lowest  # the losses of rates that are too high lie above the chart
        y_range = (lowest - 0.1 * fall, first + 0.5 * fall) if fall > 0 else None
        return Chart(
            f"Learning rate {self.suggestion:.2g}: range test of {self.experiment.name}",
            (Plot("learning rate", "loss", series, marks=marks, log_x=True, y_range=y_range),),
            self.text,
        )

    @property
    def change(self) -> dict[str, Any]:
        """The path of the setting and its suggested value."""
        return {"training.optimizer.lr": float(f"{self.suggestion:.2g}")}

    def apply(self) -> Experiment:
        """Return the experiment with the suggested learning rate."""
        return self.experiment.override(self.change)

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.chart._repr_mimebundle_(**options)

    def __repr__(self) -> str:
        return self.text


def find_learning_rate(
    experiment: Any = None,
    *,
    low: float = LOWEST,
    high: float = HIGHEST,
    steps: int = STEPS,
    runs: str | Path | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    log: TextIO | None = None,
    **changes: Any,
) -> LearningRateTest:
    """Find a learning rate by a range test: the rate rises in each step, and the loss tells which rates are too high.

    The experiment is trained for some steps in a process of its own; no run is created. The rate that is suggested is
    the one at which the smoothed loss falls fastest (Smith, 2017). It suits a constant rate; a schedule may begin at
    three times as much.

    Args:
        experiment: what to try: an Experiment, a mapping, a file, or a run or its name.
        low, high: the range of rates.
        steps: that are taken, at most; the test ends earlier where the loss rises to four times its lowest value.
        runs: the folder of the runs (default: $LMKIT_RUNS or ./runs).
        progress: called with a sentence every ten steps.
        cancel: an object of ``lmkit.finders.trial.Cancel``; when it is called, the test ends with what there is.
        log: where progress is written, once it takes longer than two seconds (default: the notebook or the terminal).
        **changes: parts of the experiment to change, such as ``optimizer="sgd"``.

    Raises:
        ConfigError: the experiment is invalid, or the range is empty.
        DataError: the loss is no number from the start.
        MeasurementFailed: the experiment cannot be trained; the message says why.

    >>> import lmkit as lk
    >>> lk.find_learning_rate(data="digits", model="mlp:small").suggestion  # doctest: +SKIP
    """
    _check(low, high, steps)
    spec = resolve_experiment(experiment, changes, runs=runs)
    rates = np.geomspace(low, high, steps)
    losses: list[float] = []

    def raise_rate(trial: Steps) -> Iterator[str]:
        trial.ask("load", experiment=spec.to_dict())
        for begin in range(0, steps, CALL_STEPS):
            some = rates[begin : begin + CALL_STEPS].tolist()
            values = trial.ask("advance", rates=some)["losses"]
            losses.extend(values)
            yield f"learning rate {some[-1]:.2g}: step {len(losses)} of {steps}"
            if len(values) < len(some) or _has_diverged(losses):
                return

    note = run_trial(spec, raise_rate, runs=runs, progress=progress, cancel=cancel, log=log)
    return read_curve(spec, rates[: len(losses)], np.array(losses), note)


def read_curve(experiment: Experiment, rates: np.ndarray, losses: np.ndarray, note: str = "") -> LearningRateTest:
    """Return what a range test tells.

    Args:
        experiment: that was tried.
        rates, losses: (steps,), of each step.
        note: what is unusual.

    Raises:
        DataError: there are too few steps.
    """
    if len(losses) <= FEWEST:
        reason = f"it was {note}" if note else "the loss is no number soon after the start, at the lowest rates"
        raise DataError(f"the range test took {len(losses)} steps, and needs {FEWEST + 1}: {reason}")
    smoothed = smooth(losses)
    end = int(np.argmin(smoothed)) + 1
    places = np.arange(FEWEST, max(FEWEST + 1, end - WINDOW))  # at first, the mean is that of a few noisy losses
    ends = np.minimum(places + WINDOW, len(smoothed) - 1)
    falls = smoothed[places - WINDOW] - smoothed[ends]
    at = int(places[np.argmax(falls)]) if len(losses) > FEWEST else len(losses) - 1
    if not note and falls.max() <= 0:
        note = "the loss falls at no rate of the range: it may be too small, or the model cannot learn this"
    return LearningRateTest(experiment, rates, losses, smoothed, float(rates[at]), float(rates[end - 1]), note)


def smooth(losses: np.ndarray) -> np.ndarray:
    """Return the exponential running mean (n,) of losses (n,), without the bias of its start.

    >>> import numpy as np
    >>> smooth(np.array([2.0, 2.0])).round(6).tolist()
    [2.0, 2.0]
    """
    mean, means = 0.0, []
    for i, loss in enumerate(losses, 1):
        mean = MEMORY * mean + (1 - MEMORY) * float(loss)
        means.append(mean / (1 - MEMORY**i))
    return np.array(means)


def _has_diverged(losses: list[float]) -> bool:
    smoothed = smooth(np.array(losses))
    return len(losses) > FEWEST and float(smoothed[-1]) > DIVERGED * max(float(smoothed.min()), 1e-12)


def _check(low: float, high: float, steps: int) -> None:
    """Raise a ConfigError for a range that is none."""
    for name, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ConfigError([f"{name}: given {shorten(value)}, expected a learning rate greater than 0"])
    if low >= high:
        raise ConfigError([f"low: given {low:g}, expected less than high ({high:g})"])
    if isinstance(steps, bool) or not isinstance(steps, int) or not 2 * FEWEST <= steps <= 10_000:
        raise ConfigError([f"steps: given {shorten(steps)}, expected a number from {2 * FEWEST} to 10,000"])
