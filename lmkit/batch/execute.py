"""Executes a template with papermill; the notebook and its page are written to the folder of the run that it starts."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from lmkit.batch import warm_servers
from lmkit.batch.detach import detach as start_detached
from lmkit.batch.detach import typed_command
from lmkit.batch.html import page
from lmkit.batch.kernels import KernelSettings, check_kernel
from lmkit.batch.notebook_folder import FOLDER, new_notebook
from lmkit.batch.remote import RemoteOutput, remote_output
from lmkit.batch.runner import Ending, Journal, execute, prepare
from lmkit.batch.templates import Template, build_experiment, check_parameters, read_template
from lmkit.exceptions import RunStateError, TemplateError, shorten
from lmkit.run.run import Run
from lmkit.runfolder.folder import RunFolder, runs_root
from lmkit.system.files import move_file
from lmkit.system.optional import require
from lmkit.system.temporary import temporary_folder

MIN_FREE_BYTES = 2**18
"""Bytes that must be free where a notebook is to be written: most are smaller."""


@dataclass(frozen=True)
class Execution:
    """An executed template.

    Attributes:
        notebook: the executed notebook, up to the cell that failed.
        report: the notebook as a page; None if it could not be written.
        runs: the folders of the runs that it started, in order.
        state: completed, failed (a cell raised), prepared (it was only written), running (in a process of its own), or
            the state of the first run that did not complete.
        error: why it did not complete, in one message; empty if it did.
        values: the values recorded by ``lk.record``.
        copies: the addresses to which the notebook and its page were copied.
        log: the file that a process of its own prints to; None without one. The notebook is in its run's folder once
            that process has ended.
        pid: the number of that process.
    """

    notebook: Path
    report: Path | None
    runs: list[Path]
    state: str
    error: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    copies: list[str] = field(default_factory=list)
    log: Path | None = None
    pid: int | None = None

    def copy_to(self, remote: RemoteOutput) -> Execution:
        """Copy the notebook and its page to an address; they stay where they were written as well."""
        copies, problem = remote.copy(self.notebook, self.report)
        if not problem:
            return replace(self, copies=copies)
        return replace(self, state="failed", error="; ".join(w for w in (self.error, problem) if w), copies=copies)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, with the first run and its metrics."""
        return {
            "run": str(self.runs[0]) if self.runs else None,
            "state": self.state,
            "metrics": (RunFolder(self.runs[0]).status().metrics if self.runs else None) or {},
            "values": self.values,
            "notebook": str(self.notebook),
            "report": str(self.report) if self.report else None,
            **({"copies": self.copies} if self.copies else {}),
            **({"log": str(self.log), "pid": self.pid} if self.log else {}),
            **({"error": self.error} if self.error else {}),
        }


def run_template(  # noqa: PLR0913 - a keyword for each option of the command line
    template: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    typed: Mapping[str, str] | None = None,
    output: str | Path | None = None,
    runs: str | Path | None = None,
    time_limit: float | None = None,
    kernel: str = "",
    cwd: str | Path | None = None,
    prepare_only: bool = False,
    detach: bool = False,
    log: TextIO | None = None,
) -> Execution:
    """Execute a template with papermill and write its page.

    All printed output is copied to ``log`` at once. The notebook keeps both ends of long texts and 20 MB of a cell's
    pictures, and names what it omits. The executed notebook is written to the folder of the run that it starts, as
    ``<template>.ipynb``, and its page as ``report.html``; one that starts no run, or several, is kept for 30 days in
    the folder ``.notebooks`` of the runs, unless ``output`` names a path. A cell that raises ends the execution: the
    notebook is written up to there, and ``error`` holds the reason.

    Its kernel is the current Python, and works in the notebook's own folder, as in Jupyter; that of one of lmkit's
    templates works in the current folder.

    Ctrl-C stops the runs that the notebook started, and the notebook continues to its end, so that it shows their
    results. Without a run, or with another Ctrl-C, the notebook is stopped too. Neither raises: the state is
    ``stopped``, and ``error`` names the command that continues.

    Args:
        template: the name of a template, or the path of a notebook.
        parameters: parameter → value; for a template that declares ``overrides`` also path → value, such as
            ``{"training.optimizer.lr": 0.1}``.
        typed: more parameters, as typed on a command line: texts that are read by the declared types.
        output: path of the executed notebook (default: in the folder of its run), or an address such as
            ``s3://bucket/out.ipynb``, to which it is copied with fsspec.
        runs: the folder of the runs (default: $LMKIT_RUNS or ./runs).
        time_limit: seconds after which its kernel is ended and its runs are stopped; its state is then ``failed``.
        kernel: the name of a registered kernel for Python that executes it, such as that of another environment.
        cwd: the folder that its kernel works in (default: that of the notebook).
        prepare_only: write the notebook with its parameters, without executing it.
        detach: execute it in a process of its own, which outlives this one, and return at once.
        log: the file to print to; default: the standard error.

    Raises:
        TemplateError: no such template; a parameter is unknown, of the wrong type or read by no cell; the notebook is
            in another language than Python; the executed notebook cannot be written, or would replace the template.
        ConfigError, DataError: the experiment that the parameters describe is invalid, or does not fit the data.
        MissingPackage: papermill, nbconvert or the framework is not installed.

    >>> run_template("train", {"epochs": 3, "training.optimizer.lr": 0.1}).state  # doctest: +SKIP
    'completed'
    """
    if time_limit is not None and not 0 < time_limit < float("inf"):
        raise TemplateError(f"time limit: given {shorten(time_limit)}, expected seconds, more than 0")
    source = read_template(template)
    remote = remote_output(output)
    if remote and remote.local_path:
        check_is_other(remote.local_path, source.path)
    output = None if remote else output
    require_packages()
    output_log = log or sys.stderr
    for warning in (*source.warnings, *check_kernel(source.notebook, source.path.name, kernel)):
        print(f"{source.path.name}: {warning}", file=output_log, flush=True)
    settings = KernelSettings(kernel, str(working_folder(source, cwd)))
    values = check_parameters(source, parameters or {}, typed)
    experiment = build_experiment(source, values)
    root = runs_root(runs)
    if experiment is not None and not prepare_only:
        from lmkit import backends
        from lmkit.run.start import check_data

        backends.require(experiment.framework)
        with contextlib.chdir(settings.folder):  # relative paths of data are the notebook's
            check_data(experiment, root)
    target = new_notebook(root, source.name) if output is None else Path(output).expanduser()
    target = notebook = _check_writable(target, source)
    moves = output is None or notebook.parent == root / FOLDER
    if detach and not prepare_only:
        log_path = notebook.with_suffix(".log")
        process = start_detached(
            source,
            values,
            remote.url if remote else str(notebook.absolute()),
            log=log_path,
            runs=root,
            folder=settings.folder,
            kernel=kernel,
            time_limit=time_limit,
        )
        return Execution(notebook, None, [], "running", log=log_path, pid=process)
    if prepare_only:
        prepare(source, values, notebook)
        prepared = Execution(notebook, None, [], "prepared")
        return prepared.copy_to(remote) if remote else prepared
    with temporary_folder() as folder, warm_servers.in_use():
        journal = Journal(Path(folder) / "journal.jsonl")
        environment = {"LMKIT_RUNS": str(root), "LMKIT_COMMAND": typed_command()}
        environment |= warm_servers.prepare(environment, experiment.framework if experiment else None)
        try:
            ending = execute(
                source,
                values,
                notebook,
                journal,
                output_log,
                environment=environment,
                time_limit=time_limit,
                kernel=settings,
            )
        except OSError as error:
            path = str(error.filename or notebook)
            ending = Ending("failed", f"the execution was aborted: {error.strerror or error}: {path!r}")
        run_paths, recorded = journal.runs, journal.values
    if ending.kind in ("interrupted", "limit"):
        _stop(run_paths)
    in_run = len(run_paths) == 1 and moves
    if in_run:
        target = run_paths[0] / f"{source.name}.ipynb"
    if target != notebook:
        move_file(notebook, target)
    state, reason = _outcome(run_paths)
    if ending.error and (state == "completed" or ending.kind == "limit"):
        state = "stopped" if ending.kind == "interrupted" else "failed"
    page_path = target.with_name("report.html") if in_run else target.with_suffix(".html")
    report = _write_page(target, page_path, source.path.parent)
    errors = "; ".join(w for w in (ending.error, reason) if w)
    result = Execution(target, report, run_paths, state, errors, recorded)
    return result.copy_to(remote) if remote else result


def working_folder(template: Template, cwd: str | Path | None = None) -> Path:
    """Return the folder that the kernel of a template works in: ``cwd``, else the notebook's own.

    Raises:
        TemplateError: there is no such folder.
    """
    folder = Path(cwd).expanduser() if cwd else Path.cwd() if template.bundled else template.path.parent
    if not folder.is_dir():
        raise TemplateError(f"cwd: given {str(cwd)!r}, expected an existing folder")
    return folder.absolute()


def _check_writable(notebook: Path, template: Template) -> Path:
    """Return the path if a notebook can be written there; called before anything starts."""
    if notebook.suffix != ".ipynb":
        raise TemplateError(f"output: given {str(notebook)!r}, expected a file that ends in .ipynb")
    check_is_other(notebook, template.path)
    try:
        notebook.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=notebook.parent) as file:
            file.write(bytes(MIN_FREE_BYTES))
            return notebook
    except OSError as error:
        raise TemplateError(
            f"cannot write a notebook to {str(notebook.parent)!r}: {error.strerror}; choose another folder"
        ) from None


def check_is_other(output: Path, template: Path) -> None:
    """Check that an output is another file than its template, however either is spelled, also through links."""
    with contextlib.suppress(OSError):  # there is no such file yet
        if output.samefile(template):
            raise TemplateError(
                f"output: {str(output)!r} is the notebook {str(template)!r} itself, which would be replaced; expected "
                f"another file, such as {str(template.with_name(f'{template.stem}-out.ipynb'))!r}"
            )


def require_packages() -> None:
    """Raise MissingPackage where a package that executes notebooks is not installed."""
    require("papermill", "nbconvert", "ipykernel", extra="batch", purpose="executing a template")


def _stop(paths: list[Path]) -> None:
    """Stop the runs that are still running, and wait for their last checkpoint."""
    for run in (Run(RunFolder(path)) for path in paths):
        with contextlib.suppress(RunStateError):  # it ended by itself
            run.stop().wait()


def _outcome(paths: list[Path]) -> tuple[str, str]:
    """Return the state of the first run that did not complete, and why, read from the runs' folders."""
    for path in paths:
        status = RunFolder(path).status()
        if status.state != "completed":
            reason = f" ({status.reason})" if status.reason else ""
            name = path.name if path.parent == runs_root() else path
            hint = f"lmkit {'watch' if status.live else 'resume'} {name}"
            return status.state, f"run {path.name} is {status.state}{reason}; continue: {hint}"
    return "completed", ""


def _write_page(notebook: Path, target: Path, folder: Path) -> Path | None:
    """Write the page of a notebook from a folder; None if the notebook was never written."""
    with contextlib.suppress(TemplateError):
        return page(notebook, target, folder=folder)
    return None
