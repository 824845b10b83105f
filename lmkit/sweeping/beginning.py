"""Beginning a sweep, or going on with it: what was asked for is checked, and somebody set to drive it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from lmkit.batch.templates import Template
from lmkit.environment import command
from lmkit.errors import SweepError
from lmkit.experiment import Experiment
from lmkit.runfolder import runs_root
from lmkit.sweeping.driver import ROOM, Driver, Tell
from lmkit.sweeping.engines import LOCAL, check_engine, connect
from lmkit.sweeping.engines.threads import room, share
from lmkit.sweeping.folder import VERSION, SweepFolder, sweeps_root
from lmkit.sweeping.methods import check_method
from lmkit.sweeping.objectives import Objective, read_objectives
from lmkit.sweeping.pruning import Halving, Median, read_rule, rule_to_dict
from lmkit.sweeping.setting import experiment_of, refuse_twice, setting
from lmkit.sweeping.space import MOST_CHECKED, Space, checked, read_space
from lmkit.sweeping.sweep import Sweep
from lmkit.training import check_data

START_SECONDS = 60.0
"""How long a driver may take to begin."""


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
    course = set_course(space, base, trials=trials, method=method, objective=objective, prune=prune)
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
                "method": course.method,
                "objectives": [list(o) for o in course.objectives],
                "prune": rule_to_dict(course.rule),
                "seed": seed,
            },
            template.path,
        )
        folder.settings = {
            "trials": max(course.trials, len(folder.trial_folders())),
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
    except OSError as error:
        why = f"cannot write to {str(folder.path)!r}: {error.strerror or error}"
        raise SweepError(f"{why}; {ROOM}the same command goes on") from None
    finally:
        if cluster:
            cluster.close()
    _detach(folder)
    return made.wait() if wait else made


class Course(NamedTuple):
    """How a sweep goes through its space.

    Attributes:
        objectives: what its trials are compared by.
        rule: by which weak ones are given up, if they are.
        method: how parameters are chosen.
        trials: how many.
    """

    objectives: tuple[Objective, ...]
    rule: Median | Halving | None
    method: str
    trials: int


def set_course(
    space: Space,
    base: Experiment | None,
    *,
    trials: int | None = None,
    method: str | None = None,
    objective: str | Sequence[str] | None = None,
    prune: Any = None,
) -> Course:
    """How a sweep of such settings goes through a space; ``base`` is an experiment of it, where it has any.

    Raises:
        SweepError: it cannot.
    """
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
    return Course(objectives, rule, chosen, min(wanted, space.combinations) if chosen == "grid" else wanted)


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
