"""Charts of a sweep: how it went, which parameters led where, and which of them mattered, as plain data."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.errors import DataError
from lmkit.panels import Axis, Bars, Lines, Parallel
from lmkit.plots import BLUE, GREY, VERMILLION, Chart, Mark, Plot, Series

if TYPE_CHECKING:
    import numpy as np

    from lmkit.sweeping.folder import Trial
    from lmkit.sweeping.objectives import Objective
    from lmkit.sweeping.space import Choice, Range
    from lmkit.sweeping.sweep import Sweep

LOG_FROM = 20.0
"""Numbers above zero that are further apart than this factor are shown, and explained, by their logarithms."""

PANELS = 3
"""Objectives that are drawn at most, one beside the other."""

LEAST = 4
"""With fewer completed trials nothing is said of what mattered."""

MOST_BARS = 12

GROUPS = 4
"""Parts into which the values of a number are divided, where each trial has its own."""


def sweep_history(sweep: Sweep) -> Chart:
    """The objective of each trial in the order of trials, and the best so far; a panel an objective.

    It may be called while the sweep runs: it shows what there is.

    Raises:
        DataError: it has no objective, or no trial has told it yet.
    """
    trials = sweep.trials
    shown = _with_values(sweep, trials)
    panels = []
    for objective in sweep.objectives[:PANELS]:
        completed = [t for t in shown if t.state == "completed"]
        pruned = [t for t in trials if t.state == "pruned" and _number(t.values.get(objective.name)) is not None]
        values = {t.number: float(t.values[objective.name]) for t in [*completed, *pruned]}
        series = []
        for name, colour, own in (("pruned", GREY, pruned), ("completed", BLUE, completed)):
            if own:
                x, y = [float(t.number) for t in own], [_rounded(values[t.number]) for t in own]
                labels = tuple(f"trial {t.number}: {_given(t)}" for t in own)
                series.append(Series(name, x, y, colour, "points", labels=labels, told=(False,) * len(own)))
        steps: list[tuple[float, float]] = []
        best: float | None = None
        for t in completed:
            value = values[t.number]
            if best is None or objective.sign * value < objective.sign * best:
                steps += [*([] if best is None else [(float(t.number), best)]), (float(t.number), value)]
                best = value
        assert best is not None
        steps.append((float(max(values)), best))
        series.append(Series("best so far", [x for x, _ in steps], [_rounded(y) for _, y in steps], VERMILLION))
        known = list(values.values())
        marks = tuple(
            Mark(float(t.number), f"trial {t.number} failed: {_line(t.error)}") for t in trials if t.state == "failed"
        )
        panels.append(Plot("trial", _title(objective), tuple(series), _far_apart(known), marks=marks))
    words = [f"History of {sweep.name}: {sweep.summary()}.", _best_words(sweep, shown)]
    failed = [str(t.number) for t in trials if t.state == "failed"]
    words += [f"Dotted: failed, trial {', '.join(failed)}."] if failed else []
    return Chart("History of the trials", tuple(panels), "\n".join(words))


def parallel_coordinates(sweep: Sweep) -> Chart:
    """Each trial as a line from its parameters to its objectives: what the good ones have in common.

    The best trial stands out, and the best quarter is a colour. Values that were given as a list stand as far apart as
    their order; ranges and objectives are to scale, logarithmic where that was asked for, or they are far apart.

    Raises:
        DataError: it has no objective, or no trial has told it yet.
    """
    trials = sweep.trials
    shown, first = _with_values(sweep, trials), sweep.objectives[0]
    shown = sorted(shown, key=lambda t: first.sign * float(t.values[first.name]))
    pruned = [
        t
        for t in trials
        if t.state == "pruned" and all(_number(t.values.get(o.name)) is not None for o in sweep.objectives)
    ]
    every, space = [*shown, *pruned], sweep.space
    scales = [_scale(name, among) for name, among in {**space.grid, **space.search}.items()]
    scales += [_objective_scale(o, [float(t.values[o.name]) for t in every]) for o in sweep.objectives]

    def lines(name: str, colour: str, own: Sequence[Trial], look: str) -> Lines:
        told = [
            [
                *(t.parameters.get(s.name) for s in scales[: -len(sweep.objectives)]),
                *(t.values[o.name] for o in sweep.objectives),
            ]
            for t in own
        ]
        places = tuple(tuple(s.place(v) for s, v in zip(scales, row, strict=True)) for row in told)
        words = tuple(tuple(f"{s.axis.title}: {_word(v)}" for s, v in zip(scales, row, strict=True)) for row in told)
        return Lines(name, colour, tuple(t.number for t in own), places, words, look)

    quarter = max(1, len(shown) // 4)
    groups = [
        lines("pruned", GREY, pruned, "dotted"),
        lines("others", GREY, shown[quarter:], "faint"),
        lines("best quarter", BLUE, shown[1:quarter], "plain"),
        lines("best", VERMILLION, shown[:1], "first"),
    ]
    panel = Parallel(tuple(s.axis for s in scales), tuple(g for g in groups if g.numbers))
    text = f"Parameters and objectives of {len(every)} trials of {sweep.name}, a line each. {_best_words(sweep, shown)}"
    common = _in_common(shown[:quarter], [s.name for s in scales[: -len(sweep.objectives)]]) if quarter > 1 else ""
    return Chart(
        "Parameters and what came of them",
        (panel,),
        text + (f"\nThe best {quarter} have in common: {common}." if common else ""),
    )


def importance(sweep: Sweep) -> Chart:
    """How much of what trials differ by in their first objective each parameter accounts for; see ``importances``.

    Raises:
        DataError: too few trials have completed, or all came out alike.
    """
    found = importances(sweep)
    shown = dict(list(found.shares.items())[:MOST_BARS])
    names = tuple(_short(name, 28) for name in shown)
    text = f"Importance for {found.of} ({found.how}, {found.trials} trials): " + ", ".join(
        f"{name} {share:.0%}" for name, share in found.shares.items()
    )
    return Chart(
        "Importance of the parameters",
        (Bars(f"share of the variance of {found.of}", names, tuple(shown.values())),),
        text + ".",
    )


class Importances(NamedTuple):
    """What parameters account for.

    Attributes:
        shares: parameter → share of the variance, from 0 to 1, the largest first.
        how: by what it was found.
        of: the objective, or its logarithm.
        trials: how many were looked at.
    """

    shares: dict[str, float]
    how: str
    of: str
    trials: int


def importances(sweep: Sweep) -> Importances:
    """The share of the variance of the first objective that each parameter accounts for by itself.

    Of what was drawn: Optuna's functional ANOVA over a random forest (Hutter, Hoos and Leyton-Brown, 2014), whose
    shares are made to add up to 1. Of a grid, and without Optuna: the variance between the groups of trials that have a
    value in common, as a share of the whole, the correlation ratio η² (Fisher, 1925); what is missing to 1 lies in how
    parameters work together, and in chance. Objectives that are far apart are taken by their logarithms.

    Raises:
        DataError: too few trials have completed, or all came out alike.
    """
    import numpy as np

    trials, first = _with_values(sweep, sweep.trials), sweep.objectives[0]
    if len(trials) < LEAST:
        raise DataError(
            f"{sweep.name}: {len(trials)} completed trials are too few to say what mattered, it takes {LEAST}"
        )
    values = np.array([float(t.values[first.name]) for t in trials])
    log = _far_apart(values.tolist())
    values = np.log(values) if log else values
    if np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
        raise DataError(f"{sweep.name}: all trials came out alike in {first.name}, so that no parameter mattered")
    space = sweep.space
    drawn = bool(space.search) and importlib.util.find_spec("optuna") is not None
    if drawn:
        shares, how = _fanova(trials, values, {**space.grid, **space.search}), "fANOVA"
    else:
        shares = {
            n: correlation_ratio([t.parameters.get(n) for t in trials], values) for n in {**space.grid, **space.search}
        }
        how = "variance between groups"
    ordered = sorted(shares.items(), key=lambda one: -one[1])
    return Importances(dict(ordered), how, f"log {first.name}" if log else first.name, len(trials))


def correlation_ratio(given: Sequence[Any], values: np.ndarray) -> float:
    """Variance between the groups that have a value in common, as a share of the whole, η² (Fisher, 1925).

    Numbers of which nearly every trial has its own are divided into four groups of their order.

    Args:
        given: a parameter's value in each trial.
        values: what came of it, (trials,).

    >>> import numpy as np
    >>> correlation_ratio(["a", "a", "b", "b"], np.array([1.0, 1.0, 3.0, 3.0]))
    1.0
    """
    import numpy as np

    keys: list[Any] = [json.dumps(v, sort_keys=True, default=str) for v in given]
    if len(set(keys)) > len(keys) / 2 and all(_number(v) is not None for v in given):
        order = np.argsort(np.argsort([float(v) for v in given], kind="stable"), kind="stable")
        keys = [int(place) * GROUPS // len(keys) for place in order]
    mean, between = values.mean(), 0.0
    for key in set(keys):
        own = values[[i for i, other in enumerate(keys) if other == key]]
        between += len(own) * float(own.mean() - mean) ** 2
    return min(1.0, between / float(((values - mean) ** 2).sum()))


def _fanova(trials: Sequence[Trial], values: np.ndarray, space: Mapping[str, Range | Choice]) -> dict[str, float]:
    import warnings

    import optuna

    from lmkit.sweeping.methods import distribution
    from lmkit.sweeping.space import Choice

    known = {name: distribution(among) for name, among in space.items()}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study()
            for trial, value in zip(trials, values, strict=True):
                given = {
                    name: json.dumps(trial.parameters[name]) if isinstance(among, Choice) else trial.parameters[name]
                    for name, among in space.items()
                }
                study.add_trial(optuna.trial.create_trial(params=given, distributions=known, value=float(value)))
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {name: float(found.get(name, 0.0)) for name in space}


# -- axes -----------------------------------------------------------------------------------------


class _Scale(NamedTuple):
    """Where values lie on an axis."""

    name: str
    axis: Axis
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False

    def place(self, value: Any) -> float:
        if self.values:
            text = json.dumps(value, default=str)
            return round(_even(self.values.index(text) if text in self.values else 0, len(self.values)), 4)
        own, low, high = (math.log(v) if self.log else v for v in (float(value), self.low, self.high))
        return round((own - low) / ((high - low) or 1.0), 4) if high > low else 0.5


def _even(i: int, of: int) -> float:
    return i / (of - 1) if of > 1 else 0.5


def _scale(name: str, among: Range | Choice) -> _Scale:
    from lmkit.sweeping.space import Range

    title = _short(name.rpartition(".")[2])
    if isinstance(among, Range):
        return _numbers(name, title, among.low, among.high, among.log)
    values = list(among.values)
    if all(_number(v) is not None for v in values):
        values.sort()
    ticks = tuple((round(_even(i, len(values)), 4), _short(_word(v))) for i, v in enumerate(values))
    return _Scale(name, Axis(title, ticks), tuple(json.dumps(v, default=str) for v in values))


def _objective_scale(objective: Objective, values: Sequence[float]) -> _Scale:
    return _numbers(objective.name, _short(objective.name), min(values), max(values), _far_apart(values))


def _numbers(name: str, title: str, low: float, high: float, log: bool) -> _Scale:
    if not low < high:
        return _Scale(name, Axis(title, ((0.5, f"{low:.4g}"),)), (), low, high)
    middle = math.sqrt(low * high) if log else (low + high) / 2
    ticks = ((0.0, f"{low:.3g}"), (0.5, f"{middle:.3g}"), (1.0, f"{high:.3g}"))
    return _Scale(name, Axis(title, ticks), (), low, high, log)


# -- words ----------------------------------------------------------------------------------------


def _with_values(sweep: Sweep, trials: Sequence[Trial]) -> list[Trial]:
    """The completed trials that told all objectives, in order."""
    if not sweep.objectives:
        raise DataError(f"the sweep {sweep.name!r} has no objective to draw; begin one with objective='minimize NAME'")
    found = [
        t for t in trials
        if t.state == "completed" and all(_number(t.values.get(o.name)) is not None for o in sweep.objectives)
    ]  # fmt: skip
    if not found:
        raise DataError(f"{sweep.name}: no trial has completed yet; sweep.wait() first")
    return found


def _number(value: Any) -> float | None:
    """A finite number; None where it is none."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def _best_words(sweep: Sweep, shown: Sequence[Trial]) -> str:
    best = sweep.leader(shown)
    assert best is not None
    values = ", ".join(f"{o.name} {float(best.values[o.name]):.4g}" for o in sweep.objectives)
    return f"Best is trial {best.number} with {values}: {_given(best)}."


def _in_common(trials: Sequence[Trial], names: Sequence[str]) -> str:
    said = []
    for name in names:
        values = [t.parameters.get(name) for t in trials]
        if all(v == values[0] for v in values):
            said.append(f"{name} {_word(values[0])}")
            continue
        known = [n for v in values if (n := _number(v)) is not None]
        if len(trials) > 2 and len(known) == len(values):
            said.append(f"{name} {min(known):.3g} to {max(known):.3g}")
    return ", ".join(said)


def _given(trial: Trial) -> str:
    return ", ".join(f"{name.rpartition('.')[2]}={_word(value)}" for name, value in trial.parameters.items())


def _title(objective: Objective) -> str:
    return f"{objective.name} ({'lower' if objective.sign > 0 else 'higher'} is better)"


def _line(text: str) -> str:
    return _short(text.strip().partition("\n")[0], 120)


def _word(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _far_apart(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) > LOG_FROM * min(values)


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _short(text: str, most: int = 16) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
