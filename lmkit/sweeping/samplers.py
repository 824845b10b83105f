"""Samplers: choose the parameters of the next trial, from the grid in its order, at random, or by a model (TPE)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lmkit.exceptions import SweepError, nearest, shorten
from lmkit.sweeping.identity import parameters_key
from lmkit.sweeping.objectives import NotFinite, Objective, objective_values
from lmkit.sweeping.records import Trial
from lmkit.sweeping.search_space import Choice, Range, Space
from lmkit.system.files import refuse_link
from lmkit.system.optional import require

METHODS = ("grid", "random", "tpe")


class Sampler(Protocol):
    """Chooses parameters, one trial after the other."""

    def ask(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the parameters of trial ``number`` (counted from 1), and a note by which to recognise it later."""

    def tell(self, trial: Trial, history: Mapping[float, float]) -> None:
        """Report a finished trial; ``history`` maps epochs to the objective, where it is known."""


class GridSampler:
    """Takes the combinations of the grid in their order, without those of earlier trials.

    Args:
        space: the grid, to which values may have been added since the earlier trials.
        trials: the earlier trials.
    """

    def __init__(self, space: Space, trials: Sequence[Trial] = ()) -> None:
        tried = {parameters_key(t.parameters) for t in trials}
        combinations = (space.combination(i) for i in range(space.combinations))
        self.remaining = (c for c in combinations if parameters_key(c) not in tried)

    def ask(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ARG002 (part of the interface)
        """Return the next combination of the grid."""
        return next(self.remaining), {}

    def tell(self, trial: Trial, history: Mapping[float, float]) -> None:
        """Do nothing: a grid has a fixed order."""


class RandomSampler:
    """Draws at random, the grid's parameters in their order: trial number and seed determine the parameters."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed = space, seed

    def ask(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return random parameters."""
        return self.space.draw(number - 1, self.seed), {}

    def tell(self, trial: Trial, history: Mapping[float, float]) -> None:
        """Do nothing: trials are independent of each other."""


class TPESampler:
    """Optuna's tree-structured Parzen estimator (Bergstra et al., 2011), stored in a file of the sweep's folder.

    Running trials count as bad until they report ("constant liar"), so that parallel trials differ from each other.
    """

    def __init__(self, space: Space, seed: int, objectives: Sequence[Objective], storage: Path, trials: list[Trial]):
        require_optuna()
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        for suffix in ("", "-journal", "-wal", "-shm"):
            refuse_link(storage.with_name(storage.name + suffix))
        self.space, self.objectives = space, objectives
        options = {"constant_liar": True} if len(objectives) == 1 else {}
        self.study = optuna.create_study(
            storage=f"sqlite:///{storage}",
            sampler=optuna.samplers.TPESampler(seed=seed + len(trials), **options),
            study_name="sweep",
            directions=[o.direction for o in objectives],
            load_if_exists=True,
        )
        self.distributions = {name: to_distribution(domain) for name, domain in space.domains.items()}
        self._synchronise(trials)

    def _synchronise(self, trials: list[Trial]) -> None:
        """Bring the study up to date with trials whose driver died before it reported them."""
        running = {t.number for t in self.study.trials if t.state in (_state("RUNNING"), _state("WAITING"))}
        by_number = {t.note.get("optuna"): t for t in trials}
        for number in running - by_number.keys():  # asked for, but never written to the sweep's folder
            self.study.tell(number, state=_state("FAIL"), skip_if_finished=True)
        for number, trial in by_number.items():
            if number in running and trial.done:
                self.tell(trial, {})

    def ask(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the parameters that the study suggests."""
        if self.space.grid:
            fixed = self.space.combination(number - 1)
            self.study.enqueue_trial({name: json.dumps(value) for name, value in fixed.items()})
        suggestion = self.study.ask(self.distributions)
        parameters = {
            name: json.loads(suggestion.params[name]) if isinstance(domain, Choice) else suggestion.params[name]
            for name, domain in self.space.domains.items()
        }
        return parameters, {"optuna": suggestion.number}

    def tell(self, trial: Trial, history: Mapping[float, float]) -> None:
        """Report a finished trial to the study.

        TPE ignores a trial that failed, but counts a pruned one without values as worse than all others. So that it
        avoids the region in which training diverges, a trial that diverged is reported as such a one.
        """
        number, state = trial.note["optuna"], trial.state
        if state == "completed":
            try:
                self.study.tell(number, objective_values(self.objectives, trial.values), skip_if_finished=True)
                return
            except NotFinite:  # of a folder of lmkit 0.2, which had no trials that diverged
                state = "diverged"
        if state == "pruned" and history:
            self._report(number, history)
        self.study.tell(number, state=_state("FAIL" if state == "failed" else "PRUNED"), skip_if_finished=True)

    def _report(self, number: int, history: Mapping[float, float]) -> None:
        import optuna

        suggestion = optuna.trial.Trial(self.study, self.study.trials[number]._trial_id)
        for epoch, value in history.items():
            suggestion.report(value * self.objectives[0].sign, int(epoch))


def require_optuna() -> None:
    """Raise MissingPackage where Optuna is not installed."""
    require("optuna", extra="sweep", purpose="method 'tpe'", alternative="or use method='random'")


def select_method(method: str | None, space: Space, objectives: Sequence[Objective]) -> str:
    """Return the method, or the default of the space: ``tpe`` for a search, else ``grid``.

    Raises:
        SweepError: it does not fit the space.
        MissingPackage: Optuna is not installed.
    """
    name = method or ("tpe" if space.search else "grid")
    if name not in METHODS:
        raise SweepError(f"method: given {shorten(name)}, {nearest(name, METHODS)}")
    if name == "grid" and space.search:
        raise SweepError(
            f"method: 'grid' cannot sample the range of {next(iter(space.search))}; use the method 'tpe' or 'random'"
        )
    if name == "tpe":
        if not space.search:
            raise SweepError("method: 'tpe' needs a search, such as lr=1e-4..1e-1:log; or use the method 'grid'")
        if not objectives:
            raise SweepError("method: 'tpe' needs an objective, such as 'val_loss'; or use the method 'random'")
        require_optuna()
    return name


def _state(name: str) -> Any:
    import optuna

    return getattr(optuna.trial.TrialState, name)


def to_distribution(domain: Range | Choice) -> Any:
    """Return Optuna's distribution for a range or a choice."""
    from optuna import distributions

    if isinstance(domain, Choice):  # as texts: Optuna stores no lists
        return distributions.CategoricalDistribution([json.dumps(v) for v in domain.values])
    if domain.integer:
        return distributions.IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return distributions.FloatDistribution(float(domain.low), float(domain.high), log=domain.log)
