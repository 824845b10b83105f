"""Start or continue a sweep: check its settings, write its folder, and start the process that drives it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from lmkit.exceptions import LmkitError, SweepError, shorten
from lmkit.experiment.experiment import Experiment
from lmkit.run.start import check_data
from lmkit.runfolder.folder import runs_root
from lmkit.sweeping.driver import WRITE_ADVICE, Driver, Report
from lmkit.sweeping.engines import LOCAL, Engine, check_engine, connect
from lmkit.sweeping.engines.threads import default_workers, threads_per_worker
from lmkit.sweeping.folder import SPEC, SweepFolder, sweep_folder
from lmkit.sweeping.identity import default_name, differences, numbered_names, widened
from lmkit.sweeping.objectives import Objective, read_objectives
from lmkit.sweeping.pruners import Pruner, read_pruner
from lmkit.sweeping.records import SweepSettings, SweepSpec
from lmkit.sweeping.samplers import select_method
from lmkit.sweeping.search_space import MAX_CHECKED, Space, check_space, read_space
from lmkit.sweeping.sweep import Sweep
from lmkit.sweeping.target import Target, resolve_target
from lmkit.system.environment import command
from lmkit.system.files import open_log
from lmkit.system.reading import read_bytes

START_TIMEOUT = 60.0
"""Seconds that a driver may take to start."""

_started: dict[Path, tuple[SweepSpec, Path]] = {}
"""The folders of the sweeps that this process has started, with what each is and its notebook."""


def sweep(  # noqa: PLR0913 - a keyword for each option of the command line
    what: Any = "train",
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
    kernel: str = "",
    cwd: str | Path | None = None,
    typed: Mapping[str, str] | None = None,
    inline: bool = False,
    wait: bool = False,
    trust: bool = False,
    runs: str | Path | None = None,
    tell: Report | None = None,
) -> Sweep:
    """Run a notebook for many parameter sets, or continue a sweep; returns at once.

    Every trial is an executed notebook and a run. The folder ``sweeps/<name>``, in the folder of the runs, holds
    the state of the sweep, and the same call continues it: interrupted trials resume from their run's checkpoint;
    failed ones are repeated only with ``retry_failed``, and values that are added to a grid become new trials. A trial
    with the parameters of another one takes its result.

    Args:
        what: an Experiment, a mapping or file that describes one, the name of a template, or the path of a notebook.
        parameters: parameters of all trials.
        grid: parameter or path → list of values; every combination is tried.
        search: parameter or path → ``(low, high)``, ``(low, high, "log")``, a list of choices, or a text such as
            ``1e-4..1e-1:log``; sampled for each trial. With a grid as well, its combinations are repeated in turn.
        trials: number of trials; default: the combinations of the grid.
        method: ``grid``, ``random`` or ``tpe`` (Optuna's; the default with a search).
        objective: what to compare trials by, such as ``val_loss`` (the default for experiments), ``maximize f1``, or
            a list: columns of a run's history, ``test_…`` metrics, ``seconds``, or values recorded by ``lk.record``.
        prune: ``median`` or ``halving``, or a mapping with its settings: stop weak trials early.
        name: name of the sweep's folder; default: the experiment's or template's name and a digest of the request, so
            that the same call continues the sweep.
        workers: trials at a time; default: by cores and free memory. The cores are divided equally among them.
        engine: where trials are executed: ``threads`` (this machine), or the address of a cluster.
        seed: random seed of the search.
        time_limit: seconds of one trial.
        retry_failed: repeat failed trials.
        kernel: the name of a registered kernel for Python that executes the notebook (default: the current Python).
        cwd: the folder that the notebook's kernel works in (default: that of the notebook).
        typed: more parameters, as typed on a command line.
        inline: drive the sweep in this process, before returning.
        wait: return after the sweep has ended.
        trust: allow the code that the experiment names to run, now and later; see ``lk.trust``.
        runs: the folder of the runs (default: $LMKIT_RUNS or ./runs).
        tell: called with one line per trial, if the sweep is driven in this process.

    Raises:
        SweepError: the search space or a setting is invalid, or the folder belongs to another sweep or is driven by
            another process; nothing was started.
        ConfigError, DataError, TemplateError: the experiment or a parameter is invalid.
        MissingPackage: a required package is not installed.
        UntrustedCode: the experiment is that of a file or a run which names code that is not this user's.
    """
    from lmkit.batch.execute import require_packages, working_folder
    from lmkit.batch.kernels import check_kernel

    target = resolve_target(what, parameters, typed, runs, trusted=trust)
    require_packages()
    for warning in (
        *target.template.warnings,
        *check_kernel(target.template.notebook, target.template.path.name, kernel),
    ):
        (tell or print)(f"{target.template.path.name}: {warning}")
    kernel_folder = working_folder(target.template, cwd)
    space = read_space(grid, search)
    target.check_overlap(list(space.domains))
    space = check_space(space, target.experiment)
    base = target.experiment(space.draw(0, seed))
    plan = plan_search(space, base, trials=trials, method=method, objective=objective, prune=prune)
    if time_limit is not None and not 0 < time_limit < float("inf"):
        raise SweepError(f"time limit: given {shorten(time_limit)}, expected seconds, more than 0")
    check_engine(engine)
    _check_workers(workers)
    root = runs_root(runs)
    with contextlib.chdir(kernel_folder):  # relative paths of data are the notebook's
        _check_data(target, space, seed, root)
    spec = SweepSpec(
        target.template.path.name,
        target.fixed,
        space,
        plan.method,
        plan.objectives,
        plan.pruner,
        seed,
        hashlib.sha256(target.template.path.read_bytes()).hexdigest(),
    )
    folder = _folder(name, spec, target, base, runs)
    folder.lock.check_free()
    cluster = None if engine == LOCAL else connect(engine, workers)  # first: nothing is written if it fails
    try:
        _write_folder(
            folder,
            target,
            spec,
            replace(
                _settings(plan, cluster, engine, workers, time_limit, retry_failed, runs),
                kernel=kernel,
                cwd=str(kernel_folder),
            ),
        )
        folder.remember_start()
        result = Sweep(folder)
        if inline:
            Driver(folder, tell or (lambda _: None), cluster).run()
            return result
    except OSError as error:
        reason = f"cannot write to {str(folder.path)!r}: {error.strerror or error}"
        raise SweepError(f"{reason}; {WRITE_ADVICE}run the same command to continue") from None
    finally:
        if cluster:
            cluster.close()
    _detach(folder)
    _started[folder.path] = spec, target.template.path
    return result.wait() if wait else result


def is_resumable(folder: SweepFolder) -> bool:
    """Whether ``resume`` can continue the sweep in a folder: this process has started it."""
    return folder.path in _started


def resume(folder: SweepFolder) -> None:
    """Continue an interrupted sweep that this process has started, as the same call of ``sweep`` does.

    The notebook in the folder of any other sweep may be anyone's, so it is not executed.

    Raises:
        SweepError: another process has started it, it is running, or its notebook has changed.
    """
    if not is_resumable(folder):
        raise SweepError(f"sweep {folder.name!r} was started elsewhere; run the same call or command to continue it")
    folder.lock.check_free()
    folder.create(*_started[folder.path])
    _detach(folder)


class SearchPlan(NamedTuple):
    """How a sweep explores its space.

    Attributes:
        objectives: the numbers by which trials are compared.
        pruner: stops weak trials early; None: none are stopped.
        method: ``grid``, ``random`` or ``tpe``.
        trials: number of trials.
    """

    objectives: tuple[Objective, ...]
    pruner: Pruner | None
    method: str
    trials: int


def plan_search(
    space: Space,
    base: Experiment | None,
    *,
    trials: int | None = None,
    method: str | None = None,
    objective: str | Sequence[str] | None = None,
    prune: Any = None,
) -> SearchPlan:
    """Resolve the settings of a search and their defaults.

    Args:
        space: the parameters that vary.
        base: an experiment of the space; None where its template describes none.
        trials, method, objective, prune: as for ``sweep``.

    Raises:
        SweepError: a setting is invalid, or does not fit the space.
    """
    default = "" if base is None else "val_loss" if base.data.validation else "loss"
    objectives = read_objectives(objective, default)
    pruner = read_pruner(prune)
    if pruner and (len(objectives) != 1 or base is None):
        raise SweepError("prune: needs an experiment with exactly one objective, whose history is compared")
    name = select_method(method, space, objectives)
    if trials is None and space.search:
        raise SweepError("trials: set the number of trials, e.g. 50")
    count = space.combinations if trials is None else trials
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise SweepError(f"trials: given {shorten(count)}, expected a whole number, at least 1")
    return SearchPlan(objectives, pruner, name, min(count, space.combinations) if name == "grid" else count)


def _write_folder(folder: SweepFolder, target: Target, spec: SweepSpec, settings: SweepSettings) -> None:
    if (folder.path / SPEC).exists() and (wider := widened(folder.spec(), spec)):
        folder.widen(wider)
    folder.create(spec, target.template.path)
    trials = max(settings.trials, len(folder.trial_folders()))  # existing trials are never removed
    folder.settings = replace(settings, trials=trials)


def _settings(
    plan: SearchPlan,
    cluster: Engine | None,
    engine: str,
    workers: int | None,
    time_limit: float | None,
    retry_failed: bool,
    runs: str | Path | None,
) -> SweepSettings:
    count = cluster.workers if cluster else workers or default_workers()
    return SweepSettings(
        plan.trials,
        count,
        cluster.threads if cluster else threads_per_worker(count),
        engine,
        time_limit,
        retry_failed,
        str(runs_root(runs)),
        command(),
    )


def _check_workers(workers: int | None) -> None:
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise SweepError(f"workers: given {shorten(workers)}, expected a whole number, at least 1")


def _folder(
    name: str | None, spec: SweepSpec, target: Target, base: Experiment | None, runs: str | Path | None
) -> SweepFolder:
    """Return the folder of the sweep with that name; without one, of the sweep that does what is asked for."""
    if name is None:
        label = base.name if base and target.template.name == "train" else target.template.name
        names = numbered_names(default_name(spec, label))
        return next(folder for folder in (sweep_folder(n, runs) for n in names) if _continues(folder, spec))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or ".." in name:
        raise SweepError(
            f"name: given {shorten(name)}, expected letters, digits, '.', '_' and '-', starting with a letter or digit"
        )
    return sweep_folder(name, runs)


def _continues(folder: SweepFolder, spec: SweepSpec) -> bool:
    """Whether a folder is free, or holds this sweep, or one with fewer values in its grid."""
    if not (folder.path / SPEC).exists():
        return True
    try:
        stored = folder.spec()
    except LmkitError:  # damaged, or another version of the format
        return False
    return not differences(stored, spec) or widened(stored, spec) is not None


def _check_data(target: Target, space: Space, seed: int, runs: str | Path | None) -> None:
    """Check the data and the framework of each kind of trial once."""
    from lmkit.backends import require

    seen: set[str] = set()
    for number in range(min(max(1, space.combinations), MAX_CHECKED)):
        experiment = target.experiment(space.draw(number, seed))
        if experiment is None:
            return
        kind = f"{experiment.framework} {experiment.data!r} {experiment.model.family}"
        if kind not in seen:
            seen.add(kind)
            require(experiment.framework)
            check_data(experiment, runs)


def _detach(folder: SweepFolder) -> None:
    """Start a process that drives the sweep, and return once it holds the lock."""
    with os.fdopen(open_log(folder.log), "ab") as log:
        driver = subprocess.Popen(
            [sys.executable, "-m", "lmkit.sweeping.driver", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # it outlives this process and ignores its Ctrl-C
        )
    deadline = time.monotonic() + START_TIMEOUT
    while driver.poll() is None and time.monotonic() < deadline:
        holder = folder.driver()
        if holder and holder.pid == driver.pid:
            return
        time.sleep(0.05)
    if driver.poll() not in (None, 0):
        lines = read_bytes(folder.log).decode(errors="replace").strip().splitlines()
        raise SweepError(f"cannot start sweep {folder.name!r}: {lines[-1] if lines else 'its process ended'}")
