"""The chart of parameter importance: the share of the objective's variance that each parameter accounts for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.charts.sweeps import completed_trials, is_seed
from lmkit.charts.values import shorten, spans_decades
from lmkit.display.figure import Chart
from lmkit.display.panels import Bars
from lmkit.exceptions import DataError
from lmkit.system.numbers import finite_number
from lmkit.system.optional import is_installed

if TYPE_CHECKING:
    import numpy as np

    from lmkit.sweeping.records import Trial
    from lmkit.sweeping.search_space import Choice, Range
    from lmkit.sweeping.sweep import Sweep

MIN_TRIALS = 4
"""Minimum number of completed trials for an estimate."""

MAX_BARS = 12
"""Maximum number of parameters to draw."""

MAX_DEPTH = 6
"""Depth of the trees of the forest, at most; deeper ones take much longer and hardly change the shares."""

QUANTILES = 4
"""Number of groups for a numeric parameter whose values are mostly distinct."""


def importance(sweep: Sweep) -> Chart:
    """Plot the share of the first objective's variance that each parameter accounts for; see ``importances``.

    Raises:
        DataError: too few trials have completed, or all have the same objective.
    """
    result = importances(sweep)
    shares = dict(list(result.shares.items())[:MAX_BARS])
    names = tuple(shorten(name, 28) for name in shares)
    text = f"Importance for {result.of} ({result.how}, {result.trials} trials): " + ", ".join(
        f"{name} {share:.0%}" for name, share in result.shares.items()
    )
    return Chart(
        "Parameter importance",
        (Bars(f"share of the variance of {result.of}", names, tuple(shares.values())),),
        text + ".",
    )


class Importances(NamedTuple):
    """The importance of parameters.

    Attributes:
        shares: parameter → share of the variance, from 0 to 1, the largest first.
        how: the method of the estimate.
        of: the objective, or its logarithm.
        trials: number of trials in the estimate.
    """

    shares: dict[str, float]
    how: str
    of: str
    trials: int


def importances(sweep: Sweep) -> Importances:
    """Estimate the share of the first objective's variance that each parameter accounts for by itself.

    For a search: Optuna's functional ANOVA over a random forest (Hutter, Hoos and Leyton-Brown, 2014), with shares
    normalized to a sum of 1. For a grid, or without Optuna: the variance between the groups of trials with equal
    values as a share of the total variance, the correlation ratio η² (Fisher, 1925); the remainder to 1 is due to
    interactions and chance, of which a random seed is a part. Objectives that span decades are replaced by their
    logarithms.

    Raises:
        DataError: too few trials have completed, or all have the same objective.
    """
    import numpy as np

    trials, first = completed_trials(sweep, sweep.trials), sweep.objectives[0]
    if len(trials) < MIN_TRIALS:
        raise DataError(
            f"{sweep.name}: {len(trials)} completed trials, expected at least {MIN_TRIALS} to estimate importance"
        )
    values = np.array([float(t.values[first.name]) for t in trials])
    log = spans_decades(values.tolist())
    values = np.log(values) if log else values
    if np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
        raise DataError(f"{sweep.name}: all trials have the same {first.name}, so importance is undefined")
    space = sweep.space
    domains = {name: domain for name, domain in {**space.grid, **space.search}.items() if not is_seed(name)}
    if not domains:
        raise DataError(f"{sweep.name}: only the random seed varies, so importance is undefined")
    use_fanova = bool(space.search) and is_installed("optuna")
    if use_fanova:
        shares, how = _fanova(trials, values, domains), "fANOVA"
    else:
        shares = {n: correlation_ratio([t.parameters.get(n) for t in trials], values) for n in domains}
        how = "variance between groups"
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return Importances(dict(ordered), how, f"log {first.name}" if log else first.name, len(trials))


def correlation_ratio(parameter_values: Sequence[Any], outcomes: np.ndarray) -> float:
    """Return the variance between groups of equal values as a share of the total variance, η² (Fisher, 1925).

    Numbers that are mostly distinct are divided into quartiles.

    Args:
        parameter_values: the value of a parameter in each trial.
        outcomes: the objective of each trial, (trials,).

    >>> import numpy as np
    >>> correlation_ratio(["a", "a", "b", "b"], np.array([1.0, 1.0, 3.0, 3.0]))
    1.0
    """
    import numpy as np

    keys: list[Any] = [json.dumps(v, sort_keys=True, default=str) for v in parameter_values]
    if len(set(keys)) > len(keys) / 2 and all(finite_number(v) is not None for v in parameter_values):
        order = np.argsort(np.argsort([float(v) for v in parameter_values], kind="stable"), kind="stable")
        keys = [int(rank) * QUANTILES // len(keys) for rank in order]
    mean, between = outcomes.mean(), 0.0
    for key in set(keys):
        members = outcomes[[i for i, other in enumerate(keys) if other == key]]
        between += len(members) * float(members.mean() - mean) ** 2
    return min(1.0, between / float(((outcomes - mean) ** 2).sum()))


def _fanova(trials: Sequence[Trial], values: np.ndarray, space: Mapping[str, Range | Choice]) -> dict[str, float]:
    import warnings

    import optuna

    from lmkit.sweeping.samplers import to_distribution
    from lmkit.sweeping.search_space import Choice

    distributions = {name: to_distribution(domain) for name, domain in space.items()}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study()
            for trial, value in zip(trials, values, strict=True):
                parameters = {
                    name: json.dumps(trial.parameters[name]) if isinstance(domain, Choice) else trial.parameters[name]
                    for name, domain in space.items()
                }
                study.add_trial(
                    optuna.trial.create_trial(params=parameters, distributions=distributions, value=float(value))
                )
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0, max_depth=MAX_DEPTH)
            shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {name: float(shares.get(name, 0.0)) for name in space}
