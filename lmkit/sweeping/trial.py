"""One attempt at a trial: a notebook executed, and how it ended written down. It runs wherever an engine puts it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lmkit.batch.notebooks import Ending, Journal, execute
from lmkit.batch.servers import make_ready
from lmkit.batch.templates import check_parameters, described_experiment, read_template
from lmkit.errors import LmkitError, SweepError
from lmkit.run import Run
from lmkit.runfolder import EARLIER, RunFolder
from lmkit.sweeping.folder import SweepFolder, TrialFolder, read_json, write_json
from lmkit.sweeping.objectives import Objective, numbers, values_of

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
"""The variables that the frameworks and their libraries read how many threads they may have."""

FULL = "cannot write to "

ORPHAN_SECONDS = 10.0
"""How long nobody may drive a sweep before its attempts end: a driver that is killed is soon followed by another."""


class Job(NamedTuple):
    """One attempt to be made, in plain values that any engine can carry.

    Attributes:
        folder: the trial's.
        template: the notebook.
        parameters: all that it is given.
        runs: where runs are kept.
        threads: that it may use.
        objectives: (name, direction) of what it must tell.
        time_limit: seconds that it may take; None: as long as it takes.
        command: the command that the sweep was started with.
        driver: the token of who drives the sweep; once that is another, or nobody, the attempt ends.
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


def run_trial(job: Job) -> dict[str, Any]:
    """Makes one attempt at a trial; returns how it ended, which is in its folder too.

    The state is completed, pruned, failed (for good: its marker is there), interrupted (to be gone on with), died (its
    kernel, or its run's worker, did) or full (there was no room to write).
    """
    folder = TrialFolder(Path(job.folder))
    if (done := read_json(folder.done)) is not None:
        return dict(done)
    began, leave = time.time(), _leave(job, folder)
    if leave():
        return {"state": "interrupted", "error": "it was interrupted"}
    try:
        earlier = [j for j in folder.journals() if j.path.exists()]
        attempt = folder.new_attempt()
        told = _attempt(job, folder, attempt, earlier, leave)
        told |= {
            "attempt": attempt.name,
            "threads": job.threads,
            "seconds": round(time.time() - began + _spent(folder), 3),
        }
        if told["state"] in ("completed", "pruned", "failed"):
            if not folder.finish(told):
                return dict(read_json(folder.done) or told)
        else:
            write_json(attempt / "ended.json", told)
        return told
    except OSError as error:
        return {"state": "full", "error": f"{FULL}{str(folder.path)!r}: {error.strerror or error}"}


def _leave(job: Job, folder: TrialFolder) -> Callable[[], bool]:
    """Asks whether the attempt is to end: somebody wants it, or nobody is left who would know of it."""
    sweep, seen = SweepFolder(folder.path.parent.parent), [time.monotonic()]

    def leave() -> bool:
        if folder.stop.exists() or not job.driver:
            return folder.stop.exists()
        driver = sweep.driver()
        if driver is None:
            return time.monotonic() - seen[0] > ORPHAN_SECONDS
        seen[0] = time.monotonic()
        return bool(driver.get("token") != job.driver)

    return leave


def _attempt(
    job: Job, folder: TrialFolder, attempt: Path, earlier: list[Journal], leave: Callable[[], bool]
) -> dict[str, Any]:
    template = read_template(job.template)
    journal = Journal(attempt / "journal.jsonl")
    notebook = attempt / f"{template.name}.ipynb"
    try:
        values = check_parameters(template, job.parameters)
        experiment = described_experiment(template, values)
    except LmkitError as refused:
        return {"state": "failed", "error": str(refused)}
    environment = {
        "LMKIT_RUNS": job.runs,
        "LMKIT_COMMAND": job.command,
        EARLIER: os.pathsep.join(str(j.path) for j in earlier),
        **dict.fromkeys(THREADS, str(job.threads)),
    }
    environment |= make_ready(environment, experiment.framework if experiment else None)
    with (attempt / "log.txt").open("w", encoding="utf-8") as log:
        ending = execute(
            template, values, notebook, journal, log,
            environment=environment, time_limit=job.time_limit, stop=leave,
        )  # fmt: skip
    made = [RunFolder(path) for path in journal.runs]
    for each in made:
        _wait(Run(each), leave, ending.kind)
    state, error = _outcome(ending, made, folder)
    told: dict[str, Any] = {"state": state, "error": error, "run": str(made[-1].path) if made else None}
    told["notebook"] = str(notebook.relative_to(folder.path)) if notebook.exists() else None
    told["values"] = {**(numbers(Run(made[-1])) if made else {}), **journal.values}
    if state == "completed":
        try:
            values_of([Objective(*o) for o in job.objectives], told["values"])
        except SweepError as missing:
            told |= {"state": "failed", "error": str(missing)}
    return told


def _wait(run: Run, leave: Callable[[], bool], kind: str) -> None:
    """Waits for a run that its notebook did not wait for; stops it where the attempt is to end."""
    asked = False
    while run.status.live:
        if not asked and (kind in ("interrupted", "limit") or leave()):
            run.folder.command("stop")
            asked = True
        if kind == "died" and not asked:
            return  # the run goes on by itself, and the next attempt finds it
        time.sleep(0.05)


def _outcome(ending: Ending, made: list[RunFolder], folder: TrialFolder) -> tuple[str, str]:
    if ending.kind == "limit":
        return "failed", ending.error
    statuses = [f.status() for f in made]
    full = next((s.reason for s in statuses if s.state == "failed" and s.reason.startswith(FULL)), "")
    if full:
        return "full", full.rpartition("; make room")[0] or full  # then a sweep goes on otherwise than a run
    ended_early = any(s.state == "stopped" for s in statuses)
    if folder.pruned.exists() and (ended_early or ending.kind == "completed"):
        return "pruned", (read_json(folder.pruned) or {}).get("reason", "")
    if ending.kind in ("interrupted", "died"):
        return ending.kind, ending.error
    for folder_of, status in zip(made, statuses, strict=True):
        if status.state == "lost":
            return "died", f"the run {folder_of.name} was lost: {status.reason}"
        if status.state == "stopped":
            return "interrupted", f"the run {folder_of.name} was stopped {status.reason}"
        if status.state == "failed":
            said = f"the run {folder_of.name} failed: {status.reason}"
            return "failed", said if ending.kind == "completed" else f"{ending.error}; {said}"
    return ending.kind, ending.error


def _spent(folder: TrialFolder) -> float:
    """Seconds that earlier attempts took, as far as they told."""
    told: list[Mapping[str, Any]] = [read_json(a / "ended.json") or {} for a in folder.attempts()[:-1]]
    return float(max((t.get("seconds", 0.0) for t in told), default=0.0))
