"""Charts of sweeps: optimization history and parallel coordinates."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.charts.values import round_value, shorten, spans_decades
from lmkit.display.figure import BLUE, GREY, VERMILLION, Chart, Mark, Plot, Series
from lmkit.display.panels import Axis, Lines, Parallel
from lmkit.exceptions import DataError
from lmkit.system.numbers import finite_number, order_key

if TYPE_CHECKING:
    from lmkit.sweeping.objectives import Objective
    from lmkit.sweeping.records import Trial
    from lmkit.sweeping.search_space import Choice, Range
    from lmkit.sweeping.sweep import Sweep

MAX_PANELS = 3
"""Maximum number of objectives to draw, side by side."""

OUTER_FENCE = 3.0
"""Interquartile ranges beyond a quartile at which Tukey's outer fence lies (Tukey, Exploratory Data Analysis, 1977)."""

MIN_FRONT = 2
"""The objectives of a Pareto front that are drawn."""


def sweep_history(sweep: Sweep) -> Chart:
    """Plot the objective of each trial in order of the trials, and the best so far; one panel per objective.

    While a sweep runs, the chart shows the trials finished so far.

    Raises:
        DataError: the sweep has no objective, or no trial has completed yet.
    """
    trials = sweep.trials
    with_values = completed_trials(sweep, trials)
    failed = [t for t in trials if t.failed]
    panels = []
    for objective in sweep.objectives[:MAX_PANELS]:
        completed = [t for t in with_values if t.state == "completed"]
        pruned = [t for t in trials if t.state == "pruned" and finite_number(t.values.get(objective.name)) is not None]
        values = {t.number: float(t.values[objective.name]) for t in [*completed, *pruned]}
        series = []
        for name, colour, members in (("pruned", GREY, pruned), ("completed", BLUE, completed)):
            if members:
                x, y = [float(t.number) for t in members], [round_value(values[t.number]) for t in members]
                labels = tuple(f"trial {t.number}: {_parameters_text(t)}" for t in members)
                series.append(Series(name, x, y, colour, "points", labels=labels, labelled=(False,) * len(members)))
        steps: list[tuple[float, float]] = []
        best: float | None = None
        for t in completed:
            value = values[t.number]
            if best is None or objective.sign * value < objective.sign * best:
                steps += [*([] if best is None else [(float(t.number), best)]), (float(t.number), value)]
                best = value
        assert best is not None
        steps.append((float(max(values)), best))
        series.append(Series("best so far", [x for x, _ in steps], [round_value(y) for _, y in steps], VERMILLION))
        losses = list(values.values())
        marks = tuple(Mark(float(t.number), f"trial {t.number} {t.state}: {_first_line(t.error)}") for t in failed)
        panels.append(Plot("trial", _axis_title(objective), tuple(series), spans_decades(losses), marks=marks))
    sentences = [f"Optimization history of {sweep.name}: {sweep.summary()}.", _describe_best(sweep, with_values)]
    if failed:
        sentences.append(f"Dotted: failed trials {', '.join(str(t.number) for t in failed)}.")
    return Chart("Optimization history", tuple(panels), "\n".join(sentences))


def parallel_coordinates(sweep: Sweep) -> Chart:
    """Plot each trial as a line from its parameters to its objectives.

    The best trial and the best quarter are highlighted. Listed values are equally spaced; ranges and objectives are to
    scale, on a logarithmic axis if the range is logarithmic or the objectives span decades.

    Raises:
        DataError: the sweep has no objective, or no trial has completed yet.
    """
    trials = sweep.trials
    ranked, first = completed_trials(sweep, trials), sweep.objectives[0]
    ranked = sorted(ranked, key=lambda t: order_key(t.values[first.name], first.sign))
    pruned = [
        t
        for t in trials
        if t.state == "pruned" and all(finite_number(t.values.get(o.name)) is not None for o in sweep.objectives)
    ]
    drawn, space = [*ranked, *pruned], sweep.space
    scales = [_scale(name, domain) for name, domain in {**space.grid, **space.search}.items()]
    scales += [_objective_scale(o, [float(t.values[o.name]) for t in drawn]) for o in sweep.objectives]

    def lines(name: str, colour: str, members: Sequence[Trial], style: str) -> Lines:
        rows = [
            [
                *(t.parameters.get(s.name) for s in scales[: -len(sweep.objectives)]),
                *(t.values[o.name] for o in sweep.objectives),
            ]
            for t in members
        ]
        positions = tuple(tuple(s.position(v) for s, v in zip(scales, row, strict=True)) for row in rows)
        labels = tuple(
            tuple(f"{s.axis.title}: {_value_text(v)}" for s, v in zip(scales, row, strict=True)) for row in rows
        )
        return Lines(name, colour, tuple(t.number for t in members), positions, labels, style)

    n_best = max(1, len(ranked) // 4)
    groups = [
        lines("pruned", GREY, pruned, "dotted"),
        lines("others", GREY, ranked[n_best:], "faint"),
        lines("best quarter", BLUE, ranked[1:n_best], "plain"),
        lines("best", VERMILLION, ranked[:1], "first"),
    ]
    panel = Parallel(tuple(s.axis for s in scales), tuple(g for g in groups if g.numbers))
    text = f"Parameters and objectives of {len(drawn)} trials of {sweep.name}, one line per trial. "
    text += _describe_best(sweep, ranked)
    if n_best > 1 and (shared := _describe_common(ranked[:n_best], [s.name for s in scales[: -len(sweep.objectives)]])):
        text += f"\nThe best {n_best} have in common: {shared}."
    return Chart("Parameters and results", (panel,), text)


def pareto_front(sweep: Sweep) -> Chart:
    """Plot the completed trials by their first two objectives, and the Pareto front: those that no other dominates.

    Raises:
        DataError: the sweep has fewer than two objectives, or no trial has completed yet.
    """
    if len(sweep.objectives) < MIN_FRONT:
        raise DataError(f"the sweep {sweep.name!r} has fewer than two objectives, so no Pareto front; see best()")
    completed = completed_trials(sweep, sweep.trials)
    numbers = {t.number for t in sweep.front_of(completed)}
    first, second = sweep.objectives[:MIN_FRONT]
    series = []
    for name, colour, members in (
        ("other trials", GREY, [t for t in completed if t.number not in numbers]),
        ("Pareto front", VERMILLION, [t for t in completed if t.number in numbers]),
    ):
        if members:
            x, y = ([round_value(float(t.values[o.name])) for t in members] for o in (first, second))
            labels = tuple(f"trial {t.number}: {_parameters_text(t)}" for t in members)
            series.append(Series(name, x, y, colour, "points", labels=labels, labelled=(False,) * len(members)))
    listed = "; ".join(
        f"trial {t.number} ({', '.join(f'{o.name} {float(t.values[o.name]):.4g}' for o in sweep.objectives)})"
        for t in completed
        if t.number in numbers
    )
    text = f"Pareto front of {sweep.name}, {len(numbers)} of {len(completed)} trials: {listed}."
    return Chart("Pareto front", (Plot(_axis_title(first), _axis_title(second), tuple(series)),), text)


# -- axes -----------------------------------------------------------------------------------------


class _Scale(NamedTuple):
    """The mapping of values to positions on an axis."""

    name: str
    axis: Axis
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    clips: bool = False

    def position(self, value: Any) -> float:
        """Where a value lies on the axis, from 0 to 1."""
        if self.values:
            text = json.dumps(value, default=str)
            return round(_even_position(self.values.index(text) if text in self.values else 0, len(self.values)), 4)
        value = min(max(float(value), self.low), self.high) if self.clips else value
        position, low, high = (math.log(v) if self.log else v for v in (float(value), self.low, self.high))
        return round((position - low) / ((high - low) or 1.0), 4) if high > low else 0.5


def _even_position(i: int, count: int) -> float:
    return i / (count - 1) if count > 1 else 0.5


def _scale(name: str, domain: Range | Choice) -> _Scale:
    from lmkit.sweeping.search_space import Range

    title = shorten(name.rpartition(".")[2])
    if isinstance(domain, Range):
        return _numeric_scale(name, title, domain.low, domain.high, domain.log)
    values = list(domain.values)
    if all(finite_number(v) is not None for v in values):
        values.sort()
    ticks = tuple((round(_even_position(i, len(values)), 4), shorten(_value_text(v))) for i, v in enumerate(values))
    return _Scale(name, Axis(title, ticks), tuple(json.dumps(v, default=str) for v in values))


def _objective_scale(objective: Objective, values: Sequence[float]) -> _Scale:
    """Return the scale of an objective; outliers on its worse side, such as a diverged trial, lie at the axis's end.

    An outlier lies beyond Tukey's outer fence: more than three interquartile ranges above the third quartile.
    """
    import numpy as np

    numbers = np.asarray(values, dtype=np.float64)
    costs = objective.sign * (np.log(numbers) if spans_decades(values) else numbers)
    first, third = np.quantile(costs, (0.25, 0.75))
    inside = numbers[costs <= third + OUTER_FENCE * (third - first)] if third > first else numbers
    low, high = float(inside.min()), float(inside.max())
    scale = _numeric_scale(objective.name, shorten(objective.name), low, high, spans_decades([low, high]))
    if beyond := len(numbers) - len(inside):
        end = float(objective.sign > 0)
        bound = "≥" if objective.sign > 0 else "≤"
        ticks = tuple((at, f"{bound} {text} ({beyond} beyond)" if at == end else text) for at, text in scale.axis.ticks)
        return scale._replace(axis=scale.axis._replace(ticks=ticks), clips=True)
    return scale


def _numeric_scale(name: str, title: str, low: float, high: float, log: bool) -> _Scale:
    if not low < high:
        return _Scale(name, Axis(title, ((0.5, f"{low:.4g}"),)), (), low, high)
    middle = math.sqrt(low * high) if log else (low + high) / 2
    ticks = ((0.0, f"{low:.3g}"), (0.5, f"{middle:.3g}"), (1.0, f"{high:.3g}"))
    return _Scale(name, Axis(title, ticks), (), low, high, log)


# -- text -----------------------------------------------------------------------------------------


def is_seed(name: str) -> bool:
    """Whether a parameter is a random seed, which repeats a trial but cannot be better or worse."""
    return name.rpartition(".")[2] in ("seed", "random_seed", "random_state")


def completed_trials(sweep: Sweep, trials: Sequence[Trial]) -> list[Trial]:
    """Return the completed trials that have a value for all objectives, in order."""
    if not sweep.objectives:
        raise DataError(f"the sweep {sweep.name!r} has no objective to draw; start one with objective='minimize NAME'")
    completed = [
        t
        for t in trials
        if t.state == "completed" and all(finite_number(t.values.get(o.name)) is not None for o in sweep.objectives)
    ]
    if not completed:
        raise DataError(f"{sweep.name}: no trial has completed yet; call sweep.wait() first")
    return completed


def _describe_best(sweep: Sweep, completed: Sequence[Trial]) -> str:
    best = sweep.leader(completed)
    assert best is not None
    values = ", ".join(f"{o.name} {float(best.values[o.name]):.4g}" for o in sweep.objectives)
    return f"Best is trial {best.number} with {values}: {_parameters_text(best)}."


def _describe_common(trials: Sequence[Trial], names: Sequence[str]) -> str:
    parts = []
    for name in (n for n in names if not is_seed(n)):
        values = [t.parameters.get(name) for t in trials]
        if all(v == values[0] for v in values):
            parts.append(f"{name} {_value_text(values[0])}")
            continue
        numbers = [n for v in values if (n := finite_number(v)) is not None]
        if len(trials) > 2 and len(numbers) == len(values):
            parts.append(f"{name} {min(numbers):.3g} to {max(numbers):.3g}")
    return ", ".join(parts)


def _parameters_text(trial: Trial) -> str:
    return ", ".join(f"{name.rpartition('.')[2]}={_value_text(value)}" for name, value in trial.parameters.items())


def _axis_title(objective: Objective) -> str:
    return f"{objective.name} ({'lower' if objective.sign > 0 else 'higher'} is better)"


def _first_line(text: str) -> str:
    return shorten(text.strip().partition("\n")[0], 120)


def _value_text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
