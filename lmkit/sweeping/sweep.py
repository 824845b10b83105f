"""Sweep, the person's handle on a sweep's folder: begin or go on, wait, look, take the best."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.batch.notebooks import command
from lmkit.batch.templates import Template
from lmkit.errors import SweepError, nearest
from lmkit.experiment import Experiment
from lmkit.run import Run, Runs, check_data
from lmkit.runfolder import RunFolder, runs_root
from lmkit.sweeping.driver import Driver, Tell
from lmkit.sweeping.engines import LOCAL, check_engine, connect
from lmkit.sweeping.engines.threads import room, share
from lmkit.sweeping.folder import VERSION, SweepFolder, Trial, sweep_folders, sweeps_root
from lmkit.sweeping.methods import check_method
from lmkit.sweeping.objectives import Objective, dominated, read_objectives
from lmkit.sweeping.pruning import read_rule, rule_to_dict
from lmkit.sweeping.setting import experiment_of, refuse_twice, setting
from lmkit.sweeping.space import MOST_CHECKED, Space, checked, read_space
from lmkit.table import Table

if TYPE_CHECKING:
    import pandas as pd

START_SECONDS = 60.0

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
                *(_cell(t.parameters.get(v)) for v in varied),
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


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else str(value)


def _no_trial(sweep: Sweep, number: int) -> Trial:
    raise SweepError(f"the sweep {sweep.name!r} has no trial {number}; it has {len(sweep.trials)}")


# -- beginning ------------------------------------------------------------------------------------


def sweep(
    what: Experiment | Mapping[str, Any] | str | Path = "train",
    parameters: Mapping[str, Any] | None = None,
    *,
    grid: Mapping[str, Any] | None = None,
    search: Mapping[str, Any] | None = None,
    trials: int | None = None,
    method: str | None = None,
    objective: str | Sequence[str] | None = None,
    prune: Any = None,
    name: str | None = None,
    workers: int | None = None,
    engine: str = LOCAL,
    seed: int = 0,
    time_limit: float | None = None,
    retry_failed: bool = False,
    typed: Mapping[str, str] | None = None,
    inline: bool = False,
    wait: bool = False,
    runs: str | Path | None = None,
    tell: Tell | None = None,
) -> Sweep:
    """Executes a notebook for many parameter sets, or goes on with that; returns at once.

    Every trial is an executed notebook and a run. The folder ``sweeps/<name>`` beside the runs holds all there is to
    know, and the same call goes on with what is not finished: trials that were cut off resume from their run's
    checkpoint, those that failed for good are not repeated unless ``retry_failed`` says so.

    Args:
        what: an Experiment, a mapping or file that describes one, the name of a template, or a notebook of one's own.
        parameters: what all trials are given.
        grid: parameter or path → list of values; every combination is tried.
        search: parameter or path → ``(low, high)``, ``(low, high, "log")``, a list of choices, or a text such as
            ``1e-4..1e-1:log``; drawn anew for each trial. Where there is a grid too, its combinations go round.
        trials: how many; default: the combinations of the grid.
        method: ``grid``, ``random`` or ``tpe`` (Optuna's; the default where there is a search).
        objective: what to compare trials by, such as ``val_loss`` (the default for experiments), ``maximize f1``, or
            several; numbers of a run's history, ``test_…`` metrics, ``seconds``, or what ``lk.record`` told.
        prune: ``median`` or ``halving``, or a mapping with its settings: weak trials are given up before their end.
        name: of the sweep's folder; default: the time and what is swept.
        workers: trials at a time; default: by cores and free memory. Each has an equal share of the cores.
        engine: where trials are executed: ``threads`` (this machine), or a cluster's address.
        seed: decides what is drawn.
        time_limit: seconds that one trial may take.
        retry_failed: try those again that failed for good.
        typed: more parameters, as typed on a command line.
        inline: drive it in this process, before returning.
        wait: return only once it has ended.
        runs: where runs are kept (default: $LMKIT_RUNS or ./runs).
        tell: called with a line a trial, where it is driven in this process.

    Raises:
        SweepError: the space cannot be, the folder is another sweep's or is being driven by somebody else, a setting is
            wrong: before anything starts.
        ConfigError, DataError, TemplateError: the experiment or the parameters cannot be.
        MissingPackage: a package that is needed is not installed.
    """
    from lmkit.batch.execution import need_packages

    template, common = setting(what, parameters, typed)
    space = read_space(grid, search)
    refuse_twice(common, [*space.grid, *space.search])
    space = checked(space, lambda varied: experiment_of(template, common, varied))
    base = experiment_of(template, common, space.draw(0, seed))
    default = "" if base is None else "val_loss" if base.data.validation else "loss"
    objectives = read_objectives(objective, default)
    rule = read_rule(prune)
    if rule and (len(objectives) != 1 or base is None):
        raise SweepError("prune: needs runs with one objective to compare their histories by")
    chosen = check_method(method, space, objectives)
    if trials is None and space.search:
        raise SweepError("trials: say how many, such as trials=50: a search has no end of its own")
    wanted = space.combinations if trials is None else trials
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        raise SweepError(f"trials: given {wanted!r}, expected a whole number, at least 1")
    if chosen == "grid":
        wanted = min(wanted, space.combinations)
    if time_limit is not None and not 0 < time_limit < float("inf"):
        raise SweepError(f"time limit: given {time_limit!r}, expected seconds, more than 0")
    check_engine(engine)
    _check_workers(workers)
    _check_data(template, common, space, seed, runs)
    need_packages()
    folder = SweepFolder(sweeps_root(runs) / _name(name, template, base))
    folder.refuse_if_driven()
    cluster = None if engine == LOCAL else connect(engine, workers)  # which is told now, if it cannot be
    at_once = cluster.workers if cluster else workers or room()
    try:
        folder.begin(
            {
                "version": VERSION,
                "template": template.path.name,
                **common,
                **space.to_dict(),
                "method": chosen,
                "objectives": [list(o) for o in objectives],
                "prune": rule_to_dict(rule),
                "seed": seed,
            },
            template.path,
        )
        folder.settings = {
            "trials": max(wanted, len(folder.trial_folders())),
            "workers": at_once,
            "threads": cluster.threads if cluster else share(at_once),
            "engine": engine,
            "time_limit": time_limit,
            "retry_failed": retry_failed,
            "runs": str(runs_root(runs)),
            "command": command(),
        }
        made = Sweep(folder)
        if inline:
            Driver(folder, tell or (lambda line: None), cluster).run()
            return made
    finally:
        if cluster:
            cluster.close()
    _detach(folder)
    return made.wait() if wait else made


def _check_workers(given: int | None) -> None:
    if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 1):
        raise SweepError(f"workers: given {given!r}, expected a whole number, at least 1")


def _name(given: str | None, template: Template, base: Experiment | None) -> str:
    if given is None:
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        return f"{stamp}-{base.name if base and template.name == 'train' else template.name}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", given) or ".." in given:
        raise SweepError(
            f"name: given {given!r}, expected letters, digits, '.', '_' and '-', the first a letter or digit"
        )
    return given


def _check_data(
    template: Template, common: Mapping[str, Any], space: Space, seed: int, runs: str | Path | None
) -> None:
    """Refuses data that cannot be trained on, and frameworks that are not installed: each kind once."""
    from lmkit.backends import require

    seen: set[str] = set()
    for number in range(min(max(1, space.combinations), MOST_CHECKED)):
        experiment = experiment_of(template, common, space.draw(number, seed))
        if experiment is None:
            return
        kind = f"{experiment.framework} {experiment.data!r} {experiment.model.family}"
        if kind not in seen:
            seen.add(kind)
            require(experiment.framework)
            check_data(experiment, runs)


def _detach(folder: SweepFolder) -> None:
    """Has it driven by a process of its own, and returns once that has begun."""
    with folder.log.open("ab") as log:
        driver = subprocess.Popen(
            [sys.executable, "-m", "lmkit.sweeping.driver", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # it outlives this process, and a Ctrl-C here is not meant for it
        )
    until = time.monotonic() + START_SECONDS
    while driver.poll() is None and (folder.driver() or {}).get("pid") != driver.pid and time.monotonic() < until:
        time.sleep(0.05)
    if driver.poll() not in (None, 0):
        said = folder.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise SweepError(f"the sweep {folder.name!r} could not be driven: {said[-1] if said else 'its process ended'}")


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
