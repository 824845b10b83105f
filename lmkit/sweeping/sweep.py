"""Sweep: the handle on a sweep's folder, to wait for it, read its results, and take the best trial."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.display.table import Table
from lmkit.exceptions import DamagedFile, LmkitError, SweepError, nearest, shorten
from lmkit.run.run import Run
from lmkit.run.runs import Runs
from lmkit.runfolder.commands import Stop
from lmkit.runfolder.folder import RunFolder
from lmkit.sweeping.diagnosis import MAX_SECONDS, SweepDiagnosis, examine_trials, strongest
from lmkit.sweeping.folder import SPEC, SweepFolder, sweep_folders, sweeps_root
from lmkit.sweeping.objectives import Objective, is_dominated, read_objectives
from lmkit.sweeping.records import FINISHED, Trial
from lmkit.sweeping.search_space import Space
from lmkit.sweeping.trial_row import TrialRow, trial_table
from lmkit.system.numbers import finite_number, index_of_best, order_key

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 30
"""Trials in a notebook's table, the best first."""

POLL_SECONDS = 0.1

COLUMNS = ("name", "state", "ended", "trials", "failed", "best", "path")
"""The columns of ``sweeps``."""


class Sweep:
    """One sweep, read from its folder, so that any number of processes can observe it.

    Attributes:
        folder: the sweep's folder.
        spec: what it varies and how.
        objectives: the numbers by which its trials are compared.

    >>> import lmkit as lk
    >>> sweep = lk.sweep(lk.Experiment(data="digits"), grid={"lr": [0.1, 0.01]}, name="first")  # doctest: +SKIP
    >>> sweep.wait().best().parameters  # doctest: +SKIP
    {'lr': 0.1}
    """

    def __init__(self, folder: SweepFolder) -> None:
        self.folder = folder
        self.spec = folder.spec()
        self.objectives = self.spec.objectives

    # -- state ------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The path of its folder."""
        return self.folder.path

    @property
    def name(self) -> str:
        """The name of the sweep."""
        return self.folder.name

    @property
    def space(self) -> Space:
        """The parameters that vary."""
        return self.spec.space

    @property
    def trial_count(self) -> int:
        """The number of trials that it is to have."""
        return self.folder.settings.trials

    @property
    def trials(self) -> list[Trial]:
        """Its trials, in the order in which they were started."""
        return self.folder.trials()

    @property
    def state(self) -> str:
        """running, completed, failed (every trial failed or diverged), or interrupted.

        As in Optuna, a trial that fails or diverges is a result of the search, not its end.
        """
        return self.state_of(self.trials)

    def state_of(self, trials: Sequence[Trial]) -> str:
        """Return the state, given the trials as read before."""
        if self.folder.driver() is not None:
            return "running"
        if len(trials) < self.trial_count or not all(t.done for t in trials):
            return "interrupted"
        return "completed" if any(t.good for t in trials) else "failed"

    @property
    def runs(self) -> Runs:
        """The runs of its trials."""
        return Runs(Run(RunFolder(t.run)) for t in self.trials if t.run)

    @property
    def failed(self) -> list[Trial]:
        """The trials that failed or diverged, each with its ``error`` and its ``notebook`` as far as it came."""
        return [t for t in self.trials if t.failed]

    # -- results ----------------------------------------------------------------------------------

    @property
    def table(self) -> pd.DataFrame:
        """The trials, one per row.

        Columns: trial, state, the parameters that vary, the objectives, other values, seconds, run, notebook, error,
        doctor: the strongest finding about its run. ``doctor()`` examines all trials, this some per second.
        """
        import pandas as pd

        trials, varied = self.trials, list(self.space.domains)
        diagnoses = examine_trials(trials, MAX_SECONDS)
        names = [o.name for o in self.objectives]
        others = dict.fromkeys(k for t in trials for k in t.values if k not in (*names, *varied, "seconds"))
        rows = [
            {
                "trial": t.number,
                "state": t.state,
                **{name: t.parameters.get(name) for name in varied},
                **{name: t.values.get(name) for name in (*names, *others)},
                "seconds": t.seconds,
                "run": t.run.name if t.run else None,
                "notebook": str(t.notebook) if t.notebook else None,
                "error": t.error,
                "doctor": strongest(diagnoses.get(t.number)) or "",
            }
            for t in trials
        ]
        columns = ["trial", "state", *varied, *names, *others, "seconds", "run", "notebook", "error", "doctor"]
        return pd.DataFrame(rows, columns=list(dict.fromkeys(columns)))

    def best(self, objective: str | None = None) -> Trial:
        """Return the completed trial that is best in an objective (default: the first); waits for the sweep's end.

        Raises:
            SweepError: the sweep has no objective, or no trial has completed.
        """
        criterion = self._objective(objective)
        best = self.leader(self.wait().trials, criterion)
        if best is None:
            raise SweepError(
                f"sweep {self.name!r} has no completed trial with {shorten(criterion.name)}; it is {self.state}"
            )
        return best

    def leader(self, trials: Sequence[Trial], objective: Objective | None = None) -> Trial | None:
        """Return the best of some trials so far in an objective (default: the first).

        None where no trial has completed with a finite value.
        """
        if not (objective or self.objectives):
            return None
        criterion = objective or self.objectives[0]
        completed = [t for t in trials if t.state == "completed"]
        best = index_of_best([t.values.get(criterion.name) for t in completed], criterion.sign)
        return None if best is None else completed[best]

    def front(self) -> list[Trial]:
        """Return the completed trials that no other dominates (the Pareto front); waits for the sweep's end."""
        return self.front_of(self.wait().trials)

    def front_of(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return the completed ones of some trials that no other of them dominates."""
        completed = [t for t in trials if t.state == "completed"]
        values = {t.number: [finite_number(t.values.get(o.name)) for o in self.objectives] for t in completed}
        finite = {number: [v for v in row if v is not None] for number, row in values.items() if None not in row}
        return [
            t
            for t in completed
            if t.number in finite and not is_dominated(finite[t.number], list(finite.values()), self.objectives)
        ]

    def run(self, trial: Trial | int | None = None) -> Run:
        """Return the run of a trial, or of the best one, for which it waits.

        Raises:
            SweepError: the trial has no run.
        """
        trial = self.best() if trial is None else trial
        if isinstance(trial, int):
            trial = self._trial(trial)
        if trial.run is None:
            raise SweepError(f"trial {trial.number} of {self.name!r} has no run; it is {trial.state}")
        return Run(RunFolder(trial.run))

    def _trial(self, number: int) -> Trial:
        trials = self.trials
        for trial in trials:
            if trial.number == number:
                return trial
        raise SweepError(f"sweep {self.name!r} has no trial {number}; it has {len(trials)}")

    def _objective(self, name: str | None) -> Objective:
        if name is None:
            if not self.objectives:
                raise SweepError(f"sweep {self.name!r} has no objective; specify one: best('minimize NAME')")
            return self.objectives[0]
        return next((o for o in self.objectives if o.name == name), None) or read_objectives(name)[0]

    def ranked(self) -> list[Trial]:
        """Return its trials, the completed ones first from best to worst in the first objective, then the others."""
        if not self.objectives:
            return self.trials
        first = self.objectives[0]

        def rank(trial: Trial) -> tuple[bool, float]:
            return order_key(trial.values.get(first.name) if trial.state == "completed" else None, first.sign)

        return sorted(self.trials, key=rank)

    # -- control ----------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Sweep:
        """Wait until no process drives the sweep any more; returns the sweep.

        Raises:
            TimeoutError: it is still running after ``timeout`` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.folder.driver() is not None:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"sweep {self.name!r} is still running after {timeout:g} seconds")
            time.sleep(POLL_SECONDS)
        return self

    def stop(self) -> Sweep:
        """Stop the sweep: running trials save a checkpoint, from which they resume when the sweep is continued."""
        if self.folder.driver() is None:
            raise SweepError(f"sweep {self.name!r} is not running ({self.state})")
        self.folder.send(Stop())
        return self

    # -- display ----------------------------------------------------------------------------------

    def summary(self) -> str:
        """Return one line: the state, the number of finished trials by state, and the best."""
        try:
            return self._summary(self.trials)
        except DamagedFile as error:
            return f"damaged: {error}"

    def _summary(self, trials: Sequence[Trial]) -> str:
        states = {s: sum(t.state == s for t in trials) for s in (*FINISHED, "running", "damaged")}
        counts = ", ".join(f"{n} {state}" for state, n in states.items() if n)
        text = f"{self.state_of(trials)}, {sum(t.done for t in trials)}/{self.trial_count} trials finished"
        text += f" ({counts})" if counts else ""
        if len(self.objectives) > 1:  # none of them is the best
            numbers = ", ".join(str(t.number) for t in self.front_of(trials))
            text += f", Pareto front: trials {numbers}" if numbers else ""
        elif best := self.leader(trials):
            text += f", best {self.describe_values(best)} (trial {best.number})"
        return text

    def describe_values(self, trial: Trial) -> str:
        """Return the objectives of a completed trial: ``val_loss 0.123``."""
        return ", ".join(f"{o.name} {trial.values[o.name]:.4g}" for o in self.objectives)

    def __repr__(self) -> str:
        return f"<Sweep {self.name}: {self.summary()}>"

    def doctor(self) -> SweepDiagnosis:
        """Return what is wrong with the trials that have ended, and what they have in common.

        >>> sweep.doctor().text  # doctest: +SKIP
        '7 of 20 trials: learning rate too high'
        """
        trials = [trial for trial in self.trials if trial.done]
        return SweepDiagnosis(self.name, trials, examine_trials(trials))

    def trial_rows(self, trials: Iterable[Trial] | None = None) -> list[TrialRow]:
        """Return the rows of a table of trials (default: all, from best to worst)."""
        rows = list(self.ranked() if trials is None else trials)
        diagnoses = examine_trials(rows, MAX_SECONDS)
        names = [o.name for o in self.objectives]
        return [TrialRow.of(t, list(self.space.domains), names, diagnoses.get(t.number)) for t in rows]

    def to_table(self, rows: int = MAX_ROWS) -> Table:
        """Return the best ``rows`` trials as a table."""
        trials = self.ranked()
        trial_rows = self.trial_rows(trials[:rows])
        more = f" (the first {rows} of {len(trials)})" if len(trials) > rows else ""
        title = f"Sweep {self.name}: {self.summary()}{more}"
        names = [o.name for o in self.objectives]
        return trial_table(title, trial_rows, list(self.space.domains), names, [row.number for row in trial_rows])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        table = self.to_table()
        return {"text/html": table.html, "text/plain": table.text}


# -- all sweeps -----------------------------------------------------------------------------------


def attach_sweep(name: str | Path = "last", *, runs: str | Path | None = None) -> Sweep:
    """Return the sweep with this name, or at this path, or the ``last`` one that was started.

    Raises:
        SweepError: there is no such sweep, or it has another version of the format.
    """
    if os.sep in str(name):
        return Sweep(SweepFolder(Path(name)))
    folders = sweep_folders(runs)
    if name == "last" and folders:
        return Sweep(folders[-1])
    folder = next((f for f in folders if f.name == str(name)), None)
    if folder is None:
        names = [f.name for f in folders]
        hint = nearest(str(name), names, "sweeps:") if names else "start one: `lmkit sweep train --grid lr=0.1,0.01`"
        raise SweepError(f"no sweep {shorten(str(name))} under {str(sweeps_root(runs))!r}; {hint}")
    return Sweep(folder)


def find_sweep(name: str | Path, runs: str | Path | None = None) -> Sweep | None:
    """Return the sweep with this name, or at this path; None where there is none."""
    if any(folder.name == str(name) for folder in sweep_folders(runs)):
        return attach_sweep(name, runs=runs)
    return attach_sweep(Path(name).absolute()) if (Path(name) / SPEC).is_file() else None


def stop_sweep(name: str | Path = "last", *, runs: str | Path | None = None) -> Sweep:
    """Stop a sweep after its trials have saved a checkpoint; the command that started it continues it."""
    return attach_sweep(name, runs=runs).stop()


def sweeps(runs: str | Path | None = None) -> pd.DataFrame:
    """Return all sweeps, the newest first; columns: name, state, ended, trials, failed, best, path.

    A sweep of which a file cannot be read has the state ``damaged``; the column ``reason`` then says which and why.
    """
    from lmkit.display.listing import Listing

    rows = [_sweep_row(folder) for folder in reversed(sweep_folders(runs))]
    return Listing(rows, columns=[*COLUMNS, *(["reason"] if any("reason" in row for row in rows) else [])])


def _sweep_row(folder: SweepFolder) -> dict[str, Any]:
    try:
        return _describe_sweep(Sweep(folder))
    except SweepError:  # another version of the format: listed nevertheless
        return {"name": folder.name, "state": "unknown", "path": str(folder.path)}
    except LmkitError as error:
        return {"name": folder.name, "state": "damaged", "path": str(folder.path), "reason": str(error)}


def _describe_sweep(sweep: Sweep) -> dict[str, Any]:
    trials = sweep.trials
    best = sweep.leader(trials)
    return {
        "name": sweep.name,
        "state": sweep.state_of(trials),
        "ended": sum(t.done for t in trials),
        "trials": sweep.trial_count,
        "failed": sum(t.failed for t in trials),
        "best": best.values[sweep.objectives[0].name] if best else None,
        "path": str(sweep.path),
    }
