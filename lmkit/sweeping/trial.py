"""One attempt at a trial: a notebook is executed and its outcome written. Runs wherever an engine puts it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from lmkit.batch.kernels import KernelSettings
from lmkit.batch.runner import Ending, Journal, execute
from lmkit.batch.templates import build_experiment, check_parameters, read_template
from lmkit.batch.warm_servers import prepare
from lmkit.exceptions import LmkitError, SweepError
from lmkit.run.run import Run
from lmkit.runfolder.commands import Stop
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.journal import EARLIER
from lmkit.sweeping.folder import SweepFolder, TrialFolder
from lmkit.sweeping.objectives import NotFinite, Objective, objective_values, run_values
from lmkit.sweeping.records import AttemptState, TrialOutcome
from lmkit.system.files import open_log

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
"""The environment variables from which frameworks and their libraries read their number of threads."""

CANNOT_WRITE = "cannot write to "

ORPHAN_SECONDS = 10.0
"""How long a sweep may be without a driver before its attempts end: a killed driver is often replaced at once."""

POLL_SECONDS = 0.05


class Job(NamedTuple):
    """One attempt at a trial, in plain values that any engine can carry.

    Attributes:
        folder: the trial's folder.
        template: the notebook.
        parameters: all its parameters.
        runs: the folder of the runs.
        threads: threads that it may use.
        objectives: (name, direction) of each value that it must report.
        time_limit: seconds that it may take; None: unlimited.
        command: the command that started the sweep.
        driver: the token of the sweep's driver; the attempt ends once another process, or none, drives the sweep.
        kernel: the registered kernel that executes the notebook; empty: the current Python.
        cwd: the folder that the kernel works in; empty, or not on this machine: that of this process.
    """

    folder: str
    template: str
    parameters: dict[str, Any]
    runs: str
    threads: int
    objectives: tuple[tuple[str, str], ...] = ()
    time_limit: float | None = None
    command: str = ""
    driver: str = ""
    kernel: str = ""
    cwd: str = ""


def run_trial(job: Job) -> TrialOutcome:
    """Make one attempt at a trial, write its outcome to the trial's folder, and return it."""
    folder = TrialFolder(Path(job.folder))
    if outcome := folder.outcome():
        return outcome
    started, should_stop = time.monotonic(), _stop_condition(job, folder)
    if should_stop():
        return TrialOutcome("interrupted", "interrupted")
    try:
        earlier = [j for j in folder.journals() if j.path.exists()]
        attempt = folder.new_attempt()
        outcome = replace(
            _execute(job, folder, attempt, earlier, should_stop),
            attempt=attempt.name,
            threads=job.threads,
            seconds=round(time.monotonic() - started + _earlier_seconds(folder), 3),
        )
        if not outcome.finished:
            folder.interrupt(attempt, outcome)
        elif not folder.finish(outcome):
            return folder.outcome() or outcome
        return outcome
    except OSError as error:
        return TrialOutcome("full", f"{CANNOT_WRITE}{str(folder.path)!r}: {error.strerror or error}")


def _stop_condition(job: Job, folder: TrialFolder) -> Callable[[], bool]:
    """Return a function: whether the attempt should end, on request or because its driver is gone."""
    sweep, last_seen = SweepFolder(folder.path.parent.parent), [time.monotonic()]

    def should_stop() -> bool:
        if folder.stop.exists() or not job.driver:
            return folder.stop.exists()
        driver = sweep.driver()
        if driver is None:
            return time.monotonic() - last_seen[0] > ORPHAN_SECONDS
        last_seen[0] = time.monotonic()
        return driver.token != job.driver

    return should_stop


def _execute(
    job: Job, folder: TrialFolder, attempt: Path, earlier: list[Journal], should_stop: Callable[[], bool]
) -> TrialOutcome:
    template = read_template(job.template)
    journal = Journal(attempt / "journal.jsonl")
    notebook = attempt / f"{template.name}.ipynb"
    try:
        values = check_parameters(template, job.parameters)
        experiment = build_experiment(template, values)
    except LmkitError as refusal:
        return TrialOutcome("failed", str(refusal))
    environment = {
        "LMKIT_RUNS": job.runs,
        "LMKIT_COMMAND": job.command,
        EARLIER: os.pathsep.join(str(j.path.absolute()) for j in earlier),
        **dict.fromkeys(THREADS, str(job.threads)),
    }
    environment |= prepare(environment, experiment.framework if experiment else None)
    with os.fdopen(open_log(attempt / "log.txt"), "w", encoding="utf-8") as log:
        ending = execute(
            template,
            values,
            notebook,
            journal,
            log,
            environment=environment,
            time_limit=job.time_limit,
            stop=should_stop,
            kernel=KernelSettings(job.kernel, job.cwd if Path(job.cwd).is_dir() else ""),
        )
    runs = [RunFolder(path) for path in journal.runs]
    for run in runs:
        _wait(Run(run), should_stop, ending.kind)
    state, error = _state(ending, runs, folder)
    outcome = TrialOutcome(
        state,
        error,
        str(runs[-1].path) if runs else None,
        str(notebook.relative_to(folder.path)) if notebook.exists() else None,
        {**(run_values(Run(runs[-1])) if runs else {}), **journal.values},
    )
    if state == "completed":
        try:
            objective_values([Objective(*o) for o in job.objectives], outcome.values or {})
        except NotFinite as not_finite:
            return replace(outcome, state="diverged", error=str(not_finite))
        except SweepError as missing_value:
            return replace(outcome, state="failed", error=str(missing_value))
    return outcome


def _wait(run: Run, should_stop: Callable[[], bool], kind: str) -> None:
    """Wait for a run that its notebook did not wait for; stop it if the attempt is to end."""
    stopping = False
    while run.status.live:
        if not stopping and (kind in ("interrupted", "limit") or should_stop()):
            run.folder.send(Stop())
            stopping = True
        if kind == "died" and not stopping:
            return  # the run continues by itself, and the next attempt finds it
        time.sleep(POLL_SECONDS)


def _state(ending: Ending, runs: list[RunFolder], folder: TrialFolder) -> tuple[AttemptState, str]:
    """Return the state of an attempt and its error, from its notebook's ending and its runs' states."""
    if ending.kind == "limit":
        return "failed", ending.error
    statuses = [run.status() for run in runs]
    full = next((s.reason for s in statuses if s.cause == "unwritable"), "")
    if full:
        return "full", full.rpartition("; make room")[0] or full  # the driver adds how to continue the sweep
    stopped_early = any(s.state == "stopped" for s in statuses)
    if folder.pruned.exists() and (stopped_early or ending.kind == "completed"):
        record = folder.prune_record()
        return "pruned", record.reason if record else ""
    if ending.kind in ("interrupted", "died"):
        return ending.kind, ending.error
    for run, status in zip(runs, statuses, strict=True):
        if status.state == "lost":
            return "died", f"run {run.name} was lost: {status.reason}"
        if status.state == "stopped":
            return "interrupted", f"run {run.name} was stopped {status.reason}"
        if status.state == "failed":
            reason = f"run {run.name} failed: {status.reason}"
            error = reason if ending.kind == "completed" else f"{ending.error}; {reason}"
            return "diverged" if status.cause == "diverged" else "failed", error
    return ending.kind, ending.error


def _earlier_seconds(folder: TrialFolder) -> float:
    """Return the seconds that earlier attempts took, as far as they were written."""
    outcomes = [folder.interruption(attempt) for attempt in folder.attempts()[:-1]]
    return max((outcome.seconds for outcome in outcomes if outcome), default=0.0)
