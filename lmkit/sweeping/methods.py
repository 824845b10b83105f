"""How the parameters of the next trial are chosen: the grid in its order, at random, or by what was learned so far."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lmkit.errors import MissingPackage, SweepError, nearest
from lmkit.sweeping.folder import Trial
from lmkit.sweeping.objectives import Objective, values_of
from lmkit.sweeping.space import Choice, Range, Space

METHODS = ("grid", "random", "tpe")


class Method(Protocol):
    """Chooses parameters, one trial after the other."""

    def ask(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The parameters of trial ``number`` (counted from 1), and what to remember of it."""

    def tell(self, trial: Trial, history: Mapping[float, float]) -> None:
        """A trial has ended; ``history`` has the objective after each epoch, where it is known."""


class Drawn:
    """The grid in its order, the rest at random by the seed: the same for the same number, whatever came before."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed = space, seed

    def ask(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The parameters of a trial."""
        return self.space.draw(number - 1, self.seed), {}

    def tell(self, trial: Trial, history: Mapping[float, float]) -> None:
        """Learns nothing."""


class TPE:
    """Optuna's tree-structured Parzen estimator (Bergstra et al., 2011), which remembers in a file of the sweep.

    Trials that run already count as bad ones until they tell, so that several workers do not all try the same.
    """

    def __init__(self, space: Space, seed: int, objectives: Sequence[Objective], memory: Path, trials: list[Trial]):
        need_optuna()
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.objectives = space, objectives
        several = {"constant_liar": True} if len(objectives) == 1 else {}
        self.study = optuna.create_study(
            storage=f"sqlite:///{memory}",
            sampler=optuna.samplers.TPESampler(seed=seed + len(trials), **several),
            study_name="sweep",
            directions=[o.direction for o in objectives],
            load_if_exists=True,
        )
        self.distributions = {name: distribution(among) for name, among in {**space.grid, **space.search}.items()}
        running = {t.number: t for t in self.study.trials if t.state in (_state("RUNNING"), _state("WAITING"))}
        ours = {t.note.get("optuna"): t for t in trials}
        for number in running.keys() - ours.keys():  # asked for by a driver that died before it wrote it down
            self.study.tell(number, state=_state("FAIL"), skip_if_finished=True)
        for number, trial in ours.items():
            if number in running and trial.done:
                self.tell(trial, {})

    def ask(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The parameters of a trial."""
        if self.space.grid:
            fixed = self.space.combination(number - 1)
            self.study.enqueue_trial({name: json.dumps(value) for name, value in fixed.items()})
        asked = self.study.ask(self.distributions)
        chosen = {
            name: json.loads(value) if isinstance(among, Choice) else value
            for (name, among), value in (
                ((name, among), asked.params[name]) for name, among in {**self.space.grid, **self.space.search}.items()
            )
        }
        return chosen, {"optuna": asked.number}

    def tell(self, trial: Trial, history: Mapping[float, float]) -> None:
        """Remembers how a trial ended."""
        import optuna

        number = trial.note["optuna"]
        if trial.state == "completed":
            self.study.tell(number, values_of(self.objectives, trial.values), skip_if_finished=True)
            return
        if trial.state == "pruned" and history:
            asked = optuna.trial.Trial(self.study, self.study.trials[number]._trial_id)
            for epoch, value in history.items():
                asked.report(value * self.objectives[0].sign, int(epoch))
        self.study.tell(number, state=_state("PRUNED" if trial.state == "pruned" else "FAIL"), skip_if_finished=True)


def need_optuna() -> None:
    """Refuses where Optuna is not installed."""
    import importlib.util

    if importlib.util.find_spec("optuna") is None:
        raise MissingPackage(
            "method 'tpe' needs optuna, which is not installed: python -m pip install 'lmkit[sweep]'; "
            "or give method='random'"
        )


def check_method(method: str | None, space: Space, objectives: Sequence[Objective]) -> str:
    """The method that was asked for, or the one that suits the space.

    Raises:
        SweepError: it does not fit the space.
        MissingPackage: Optuna is not installed.
    """
    name = method or ("tpe" if space.search else "grid")
    if name not in METHODS:
        raise SweepError(f"method: given {name!r}, {nearest(name, METHODS)}")
    if name == "grid" and space.search:
        raise SweepError(
            f"method: 'grid' does not draw from the range of {next(iter(space.search))}; give tpe or random"
        )
    if name == "tpe":
        if not space.search:
            raise SweepError("method: 'tpe' has nothing to draw: give search={…}, or method='grid'")
        if not objectives:
            raise SweepError("method: 'tpe' learns from an objective, and there is none; give one, or method='random'")
        need_optuna()
    return name


def _state(name: str) -> Any:
    import optuna

    return getattr(optuna.trial.TrialState, name)


def distribution(among: Range | Choice) -> Any:
    """What Optuna calls what a parameter is drawn from."""
    import optuna.distributions as of

    if isinstance(among, Choice):  # of texts: Optuna keeps no lists
        return of.CategoricalDistribution([json.dumps(v) for v in among.values])
    if among.whole:
        return of.IntDistribution(int(among.low), int(among.high), log=among.log)
    return of.FloatDistribution(float(among.low), float(among.high), log=among.log)
