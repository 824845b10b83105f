"""Templates executed by papermill, each ending as a notebook and a page beside the run that it made."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from lmkit.batch import servers
from lmkit.batch.notebooks import Ending, Journal, execute
from lmkit.batch.pages import INSTALL, page
from lmkit.batch.templates import check_parameters, described_experiment, read_template
from lmkit.environment import command
from lmkit.errors import MissingPackage, RunStateError, TemplateError
from lmkit.run import Run
from lmkit.runfolder import RunFolder, runs_root

LEAST = 2**18
"""Bytes for which there is room where a notebook is to be executed: most are smaller."""


@dataclass(frozen=True)
class Execution:
    """An executed template.

    Attributes:
        notebook: the executed notebook; where a cell failed, with everything up to it.
        report: the notebook as a page; None where none could be made.
        runs: the folders of the runs that it started, as they came.
        state: completed; else the state of the first run that is not, or failed where a cell did.
        error: why it did not complete, in one readable message; empty where it did.
        values: what the notebook recorded by ``lk.record``.
    """

    notebook: Path
    report: Path | None
    runs: list[Path]
    state: str
    error: str = ""
    values: dict[str, Any] = field(default_factory=dict)


def run_template(
    template: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    typed: Mapping[str, str] | None = None,
    output: str | Path | None = None,
    runs: str | Path | None = None,
    time_limit: float | None = None,
    log: TextIO | None = None,
) -> Execution:
    """Executes a template with papermill and makes the page beside it.

    What the notebook prints appears at once on ``log``, all of it. Of megabytes of text a notebook keeps the two ends,
    and of a cell's pictures 20 MB; what it lacks is said in its place. The executed notebook ends in the folder of the
    run that it made, as ``<template>.ipynb``, and the page beside it as ``report.html``. A cell that fails ends the
    execution: the notebook up to there is kept, and ``error`` says why.

    Ctrl-C stops the runs that the notebook started and lets it go on to its end, which shows what there is of them.
    Where there is none, or with another Ctrl-C, the notebook ends too. Nothing is raised then: the state is
    ``stopped``, and ``error`` says how to go on.

    Args:
        template: the name of a known template, or the path of a notebook.
        parameters: parameter → value; where the template declares ``overrides``, also path → value, such as
            ``{"training.optimizer.lr": 0.1}``.
        typed: more of them, as typed on a command line: texts, which are read by the declared types.
        output: where to put the executed notebook instead.
        runs: where runs are kept (default: $LMKIT_RUNS or ./runs).
        time_limit: seconds after which its kernel is ended and its runs are stopped; it has failed then.
        log: where to print; default: the standard error.

    Raises:
        TemplateError: no such template; a parameter is unknown, of the wrong type or read by no cell; the executed
            notebook cannot be written there.
        ConfigError, DataError: the experiment that the parameters describe cannot be, or not with this data.
        MissingPackage: papermill, nbconvert or the framework is not installed.

    >>> run_template("train", {"epochs": 3, "training.optimizer.lr": 0.1}).state  # doctest: +SKIP
    'completed'
    """
    if time_limit is not None and not 0 < time_limit < float("inf"):
        raise TemplateError(f"time limit: given {time_limit!r}, expected seconds, more than 0")
    chosen = read_template(template)
    values = check_parameters(chosen, parameters or {}, typed)
    experiment = described_experiment(chosen, values)
    if experiment is not None:
        from lmkit.backends import require
        from lmkit.training import check_data

        require(experiment.framework)
        check_data(experiment, runs)
    need_packages()
    root = runs_root(runs)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    aside = root / ".notebooks" / f"{stamp}-{chosen.name}-{secrets.token_hex(3)}.ipynb"
    place = notebook = _writable(aside if output is None else Path(output))
    with tempfile.TemporaryDirectory(prefix="lmkit-") as folder, servers.kept():
        journal = Journal(Path(folder) / "journal.jsonl")
        environment = {"LMKIT_RUNS": str(root), "LMKIT_COMMAND": command()}
        environment |= servers.make_ready(environment, experiment.framework if experiment else None)
        try:
            ending = execute(
                chosen, values, notebook, journal, log or sys.stderr, environment=environment, time_limit=time_limit
            )
        except OSError as error:
            place_of = str(error.filename or notebook)
            ending = Ending("failed", f"it was not executed to its end: {error.strerror or error}: {place_of!r}")
        made, recorded = journal.runs, journal.values
    if ending.kind in ("interrupted", "limit"):
        _stop(made)
    in_run = len(made) == 1 and output is None
    if in_run:
        place = made[0] / f"{chosen.name}.ipynb"
    if place != notebook:
        shutil.move(notebook, place)
    state, reason = _outcome(made)
    if ending.error and (state == "completed" or ending.kind == "limit"):
        state = "stopped" if ending.kind == "interrupted" else "failed"
    report = _page(place, place.with_name("report.html") if in_run else place.with_suffix(".html"))
    return Execution(place, report, made, state, "; ".join(w for w in (ending.error, reason) if w), recorded)


def _writable(notebook: Path) -> Path:
    """The path, where a notebook can be written there: to be asked before anything starts."""
    if notebook.suffix != ".ipynb":
        raise TemplateError(f"output: given {str(notebook)!r}, expected a file that ends in .ipynb")
    try:
        notebook.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=notebook.parent) as file:
            file.write(bytes(LEAST))
            return notebook
    except OSError as error:
        raise TemplateError(
            f"no notebook can be kept under {str(notebook.parent)!r}: {error.strerror}; name another folder"
        ) from None


def need_packages() -> None:
    """Refuses where what executes notebooks is not installed."""
    import importlib.util

    missing = [n for n in ("papermill", "nbconvert", "ipykernel") if importlib.util.find_spec(n) is None]
    if missing:
        raise MissingPackage(f"executing a template needs {', '.join(missing)}, which is not installed: {INSTALL}")


def _stop(made: list[Path]) -> None:
    """Stops what still runs, and waits until it has written down where it stands."""
    for run in (Run(RunFolder(path)) for path in made):
        with contextlib.suppress(RunStateError):  # it has ended by itself
            run.stop().wait()


def _outcome(made: list[Path]) -> tuple[str, str]:
    """The state of the first run that did not complete, and why: from the runs' folders, which alone know."""
    for path in made:
        status = RunFolder(path).status()
        if status.state != "completed":
            why = f" ({status.reason})" if status.reason else ""
            go_on = f"lmkit {'watch' if status.live else 'resume'} {path.name if path.parent == runs_root() else path}"
            return status.state, f"the run {path.name} is {status.state}{why}; go on: {go_on}"
    return "completed", ""


def _page(notebook: Path, place: Path) -> Path | None:
    """The page of a notebook, where there is a notebook to make it of."""
    with contextlib.suppress(TemplateError):
        return page(notebook, place)
    return None
