"""Sweep, the person's handle on a sweep's folder: begin or go on, wait, look, take the best."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.errors import SweepError, nearest
from lmkit.run import Run, Runs
from lmkit.runfolder import RunFolder
from lmkit.sweeping.folder import WHOLE, SweepFolder, Trial, sweep_folders, sweeps_root
from lmkit.sweeping.objectives import Objective, dominated, read_objectives
from lmkit.sweeping.space import Space
from lmkit.table import Table

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 30
"""Trials that a notebook's table shows, the best first."""


class Sweep:
    """One sweep. What it tells comes from its folder, so any number of people may hold it, anywhere.

    Attributes:
        folder: the sweep's folder.

    >>> import lmkit as lk
    >>> sweep = lk.sweep(lk.Experiment(data="digits"), grid={"lr": [0.1, 0.01]}, name="first")  # doctest: +SKIP
    >>> sweep.wait().best().parameters  # doctest: +SKIP
    {'lr': 0.1}
    """

    def __init__(self, folder: SweepFolder) -> None:
        self.folder = folder
        self.spec = folder.spec()
        self.objectives = tuple(Objective(*o) for o in self.spec["objectives"])

    # -- what it is -------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.path

    @property
    def name(self) -> str:
        """What it is called."""
        return self.folder.name

    @property
    def space(self) -> Space:
        """What it goes through."""
        return Space.from_dict(self.spec)

    @property
    def wanted(self) -> int:
        """How many trials it is to have."""
        return int(self.folder.settings.get("trials", 0))

    @property
    def trials(self) -> list[Trial]:
        """Its trials, as they were begun."""
        return self.folder.trials()

    @property
    def state(self) -> str:
        """running; completed (all trials are, or were given up as weak); failed (some failed for good); interrupted."""
        return self._state(self.trials)

    def _state(self, trials: Sequence[Trial]) -> str:
        if self.folder.driver() is not None:
            return "running"
        if len(trials) < self.wanted or not all(t.done for t in trials):
            return "interrupted"
        return "completed" if all(t.good for t in trials) else "failed"

    @property
    def runs(self) -> Runs:
        """The runs of its trials, as far as they have one."""
        return Runs(Run(RunFolder(t.run)) for t in self.trials if t.run)

    @property
    def failed(self) -> list[Trial]:
        """The trials that failed for good, each with its ``error`` and its partial ``notebook``."""
        return [t for t in self.trials if t.state == "failed"]

    # -- results ----------------------------------------------------------------------------------

    @property
    def table(self) -> pd.DataFrame:
        """One trial a row.

        Columns: trial, state, what was varied, the objectives, what else was told, seconds, run, notebook, error.
        """
        import pandas as pd

        trials, varied = self.trials, [*self.spec["grid"], *self.spec["search"]]
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
            }
            for t in trials
        ]
        columns = ["trial", "state", *varied, *names, *others, "seconds", "run", "notebook", "error"]
        return pd.DataFrame(rows, columns=list(dict.fromkeys(columns)))

    def best(self, objective: str | None = None) -> Trial:
        """The completed trial that is best in an objective (default: the first). Waits for the end.

        Raises:
            SweepError: there is no objective, or no trial has completed.
        """
        found = self._objective(objective)
        best = self.leader(self.wait().trials, found)
        if best is None:
            raise SweepError(f"no trial of {self.name!r} has completed and told {found.name!r}; it is {self.state}")
        return best

    def leader(self, trials: Sequence[Trial], objective: Objective | None = None) -> Trial | None:
        """The best of some trials so far, in an objective (default: the first); None where there is none."""
        if not (objective or self.objectives):
            return None
        by = objective or self.objectives[0]
        done = [t for t in trials if t.state == "completed" and isinstance(t.values.get(by.name), int | float)]
        return min(done, key=lambda t: by.sign * t.values[by.name], default=None)

    def front(self) -> list[Trial]:
        """The completed trials that no other one beats in every objective (the Pareto front). Waits for the end."""
        done = [t for t in self.wait().trials if t.state == "completed"]
        values = {t.number: [float(t.values[o.name]) for o in self.objectives] for t in done}
        return [t for t in done if not dominated(values[t.number], list(values.values()), self.objectives)]

    def run(self, trial: Trial | int | None = None) -> Run:
        """The run of a trial, or of the best one, for which it waits.

        Raises:
            SweepError: it has none.
        """
        chosen = self.best() if trial is None else trial
        if isinstance(chosen, int):
            chosen = next((t for t in self.trials if t.number == chosen), None) or _no_trial(self, chosen)
        if chosen.run is None:
            raise SweepError(f"trial {chosen.number} of {self.name!r} has no run; it is {chosen.state}")
        return Run(RunFolder(chosen.run))

    def _objective(self, name: str | None) -> Objective:
        if name is None:
            if not self.objectives:
                raise SweepError(f"the sweep {self.name!r} has no objective; say which: best('minimize NAME')")
            return self.objectives[0]
        return next((o for o in self.objectives if o.name == name), None) or read_objectives(name)[0]

    # -- waiting and steering ---------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Sweep:
        """Waits until nobody drives it any more; returns itself.

        Raises:
            TimeoutError: it is still driven after ``timeout`` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while self.folder.driver() is not None:
            if until is not None and time.monotonic() > until:
                raise TimeoutError(f"the sweep {self.name} is still running after {timeout:g} seconds")
            time.sleep(0.1)
        return self

    def stop(self) -> Sweep:
        """Asks it to end: trials that run write a checkpoint, and are gone on with when the sweep is."""
        if self.folder.driver() is None:
            raise SweepError(f"the sweep {self.name!r} is {self.state}: nobody drives it")
        self.folder.control.append({"time": round(time.time(), 3), "by": os.getpid(), "command": "stop"})
        return self

    def ranked(self) -> list[Trial]:
        """Its trials, the best in the first objective first, then those that did not complete, in order."""
        if not self.objectives:
            return self.trials
        first = self.objectives[0]

        def place(t: Trial) -> tuple[bool, float]:
            value = t.values.get(first.name)
            known = t.state == "completed" and isinstance(value, int | float)
            return not known, first.sign * float(value or 0.0) if known else t.number

        return sorted(self.trials, key=place)

    # -- how it shows itself ----------------------------------------------------------------------

    def summary(self) -> str:
        """One line: state, how many trials have ended how, the best."""
        trials = self.trials
        counts = {
            state: sum(t.state == state for t in trials) for state in ("completed", "pruned", "failed", "running")
        }
        told = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
        text = f"{self._state(trials)}, {sum(t.done for t in trials)} of {self.wanted} trials have ended"
        text += f" ({told})" if told else ""
        if best := self.leader(trials):
            objective = self.objectives[0]
            text += f", best {objective.name} {best.values[objective.name]:.4g} (trial {best.number})"
        return text

    def __repr__(self) -> str:
        return f"<Sweep {self.name}: {self.summary()}>"

    def shown(self, rows: int = SHOWN) -> Table:
        """The trials as a table to look at, the best first."""
        trials, varied = self.ranked(), [*self.spec["grid"], *self.spec["search"]]
        columns = ("trial", "state", *varied, *(o.name for o in self.objectives), "seconds", "run", "error")
        made = tuple(
            (
                t.number,
                t.state,
                *(plain_cell(t.parameters.get(v)) for v in varied),
                *(t.values.get(o.name) for o in self.objectives),
                t.seconds,
                t.run.name.rsplit("-", 1)[-1] if t.run else None,
                t.error.partition("\n")[0] or None,
            )
            for t in trials[:rows]
        )
        more = f" (the first {rows} of {len(trials)})" if len(trials) > rows else ""
        return Table(f"Sweep {self.name}: {self.summary()}{more}", columns, made)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        table = self.shown()
        return {"text/html": table.html, "text/plain": table.text}


def plain_cell(value: Any) -> Any:
    """A parameter as a table shows it."""
    return value if value is None or isinstance(value, int | float | str) else str(value)


def _no_trial(sweep: Sweep, number: int) -> Trial:
    raise SweepError(f"the sweep {sweep.name!r} has no trial {number}; it has {len(sweep.trials)}")


# -- finding --------------------------------------------------------------------------------------


def attach_sweep(name: str | Path = "last", *, runs: str | Path | None = None) -> Sweep:
    """The sweep with this name, or the path of its folder; or the ``last`` one begun.

    Raises:
        SweepError: there is none, or it is of another version.
    """
    found = sweep_folders(runs)
    if os.sep in str(name):
        return Sweep(SweepFolder(Path(name)))
    if name == "last" and found:
        return Sweep(found[-1])
    match = next((f for f in found if f.name == str(name)), None)
    if match is None:
        known = nearest(str(name), [f.name for f in found])
        raise SweepError(f"there is no sweep {str(name)!r} under {str(sweeps_root(runs))!r}; {known}")
    return Sweep(match)


def named_sweep(name: str | Path, runs: str | Path | None = None) -> Sweep | None:
    """The sweep of this name, or with this folder, if there is one."""
    if any(folder.name == str(name) for folder in sweep_folders(runs)):
        return attach_sweep(name, runs=runs)
    return attach_sweep(Path(name).absolute()) if (Path(name) / WHOLE).is_file() else None


def stop_sweep(name: str | Path = "last", *, runs: str | Path | None = None) -> Sweep:
    """Asks a sweep to end; the same command that began it goes on."""
    return attach_sweep(name, runs=runs).stop()


def sweeps(runs: str | Path | None = None) -> pd.DataFrame:
    """The sweeps beside the runs, the newest first: name, state, ended, trials, failed, best, path."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for folder in reversed(sweep_folders(runs)):
        try:
            found = Sweep(folder)
        except SweepError:  # of another version: listed nevertheless
            rows.append({"name": folder.name, "state": "unknown", "path": str(folder.path)})
            continue
        trials = found.trials
        best = found.leader(trials)
        rows.append(
            {
                "name": found.name,
                "state": found._state(trials),
                "ended": sum(t.done for t in trials),
                "trials": found.wanted,
                "failed": sum(t.state == "failed" for t in trials),
                "best": best.values[found.objectives[0].name] if best else None,
                "path": str(found.path),
            }
        )
    return pd.DataFrame(rows, columns=["name", "state", "ended", "trials", "failed", "best", "path"])
