"""Executes one notebook with papermill; however that ends, the notebook is written as far as it came.

The notebook's kernel appends a line to a file, its *journal*, for each run that it starts, each parameter that it
reads, and each value that it records.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO, TypeVar

import psutil

from lmkit.batch.kernels import KernelSettings, kernel_manager
from lmkit.batch.parameter_usage import PARAMETERS
from lmkit.batch.parameters import parameters_code
from lmkit.batch.templates import Template
from lmkit.exceptions import TemplateError, describe_exception, join_names
from lmkit.runfolder.commands import Stop
from lmkit.runfolder.folder import RunFolder
from lmkit.runfolder.journal import JOURNAL
from lmkit.system.files import JsonLines, write_text

MAX_KERNEL_STARTS = 3
"""How often a kernel is started that dies or is silent before the first cell."""

GRACE_SECONDS = 5.0
"""Seconds that a notebook may take to end on request, before its kernel is killed."""

POLL_SECONDS = 0.1


class Ending(NamedTuple):
    """How an execution ended.

    Attributes:
        kind: completed; failed (a cell raised, or a parameter was not read); died (its kernel died); limit (the time
            limit was reached); interrupted (on request).
        error: why it did not complete, in one message.
    """

    kind: Literal["completed", "failed", "died", "limit", "interrupted"] = "completed"
    error: str = ""


T = TypeVar("T")

NOT_FINITE = ("nan", "inf", "-inf")
"""The texts that stand for numbers which JSON does not have."""


class Journal:
    """What a notebook did while it was executed, read from its journal.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def _values_of(self, key: str, expected: type[T]) -> list[T]:
        lines = JsonLines(self.path).read(quiet=True)[0]
        return [line[key] for line in lines if isinstance(line.get(key), expected)]

    @property
    def runs(self) -> list[Path]:
        """The folders of the runs that it started or continued, in order."""
        return [Path(p) for p in self._values_of("run", str)]

    @property
    def values(self) -> dict[str, Any]:
        """The values that it recorded."""
        values: dict[str, Any] = {}
        for line in JsonLines(self.path).read(quiet=True)[0]:
            recorded, not_finite = line.get("values"), line.get("not_finite")
            values |= recorded if isinstance(recorded, dict) else {}
            for name, text in not_finite.items() if isinstance(not_finite, dict) else ():
                if text in NOT_FINITE:
                    values[name] = float(text)
        return values

    @property
    def unread(self) -> list[str]:
        """The parameters that were set and never read; none if their use was not recorded."""
        parameters = {name for names in self._values_of("watched", list) for name in names if isinstance(name, str)}
        return sorted(parameters - set(self._values_of("read", str)))


def execute(
    template: Template,
    values: Mapping[str, Any],
    output: Path,
    journal: Journal,
    log: TextIO,
    *,
    environment: Mapping[str, str],
    time_limit: float | None = None,
    stop: Callable[[], bool] | None = None,
    kernel: KernelSettings | None = None,
) -> Ending:
    """Execute a template and write the result to ``output``.

    Args:
        template: the template.
        values: its parameters, checked.
        output: path of the executed notebook; it is written after each cell.
        journal: the notebook's journal.
        log: the notebook's printed output is copied to it.
        environment: variables of its kernel, in addition to those of this process.
        time_limit: seconds after which its kernel is ended.
        stop: called regularly; once it returns True, the notebook's runs are stopped and the notebook is ended.
        kernel: its kernel, and the folder that the kernel works in.

    Returns:
        How it ended. No exception of the packages below is raised: the notebook is kept as far as it came, and the
        ending says what went wrong.

    Raises:
        OSError: the notebook or the journal cannot be written.
    """
    kernel = kernel or KernelSettings()
    journal.path.touch()
    parameters_path = journal.path.with_suffix(".parameters.json").absolute()  # its kernel works in another folder
    write_text(parameters_path, json.dumps(values))
    environment = {**environment, JOURNAL: str(journal.path.absolute()), PARAMETERS: str(parameters_path)}
    guard = Guard(journal, time_limit, stop)
    # another Python may be without lmkit
    record_usage = bool(values) and not kernel.name
    try:
        prepared = prepare(template, values, output)
        ending = _run(prepared, output, journal, log, environment, guard, kernel, record_usage)
    except OSError:
        raise
    except Exception as error:
        ending = guard.ending or Ending("died", f"the execution was aborted: {describe_exception(error)}")
    finally:
        parameters_path.unlink(missing_ok=True)
    if ending.kind in ("died", "limit", "interrupted"):
        _mark_incomplete(output, ending.error)
    if ending.kind == "completed" and (unread := journal.unread):
        return Ending("failed", f"{join_names(unread)}: set, but never read by the notebook, so without effect")
    return ending


def _run(
    prepared: Any,
    output: Path,
    journal: Journal,
    log: TextIO,
    environment: Mapping[str, str],
    guard: Guard,
    kernel: KernelSettings,
    record_usage: bool,
) -> Ending:
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError

    from lmkit.batch.papermill_engine import ENGINE

    started = threading.Event()
    # the kernel's own log messages do not belong in the notebook's log
    arguments = ["--log-level=50", *(["--ext=lmkit.batch.parameter_usage"] if record_usage else [])]
    for attempt in range(1, MAX_KERNEL_STARTS + 1):
        try:
            with (
                kernel_manager(environment, guard.kernels, kernel.name) as manager,
                guard,
                _interruptible(journal, log),
            ):
                papermill.execute_notebook(
                    nbformat.from_dict(prepared),
                    str(output).replace("{", "{{").replace("}", "}}"),  # papermill formats the path
                    engine_name=ENGINE,
                    kernel_name=kernel.name or "python3",
                    language="python",
                    folder=kernel.folder,
                    progress_bar=False,
                    stdout_file=log,
                    stderr_file=log,
                    kernel_manager_class=manager,
                    extra_arguments=arguments,
                    on_notebook_start=lambda **_: started.set(),
                )
            return guard.ending or Ending()
        except papermill.PapermillExecutionError as error:
            return guard.ending or Ending("failed", _describe_error(error))
        except DeadKernelError:
            return guard.ending or Ending("died", "its kernel died while a cell ran")
        except RuntimeError as error:
            if guard.ending:
                return guard.ending
            if started.is_set():
                raise
            if attempt == MAX_KERNEL_STARTS:
                return Ending("died", f"its kernel did not start, {MAX_KERNEL_STARTS} times: {error}")
        except KeyboardInterrupt:
            return Ending("interrupted", "interrupted")
    raise AssertionError("unreachable")


def prepare(template: Template, values: Mapping[str, Any], output: Path) -> Any:
    """Write a template with its parameters to ``output`` without executing it; returns the notebook.

    Raises:
        TemplateError: it is not a valid notebook.
        OSError: it cannot be written.
    """
    import nbformat
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    try:
        notebook = load_notebook_node(str(template.path))
        nbformat.validate(notebook)
    except OSError:
        raise
    except Exception as error:  # whatever the packages below raise for what others wrote
        raise TemplateError(f"{template.path.name} is not a valid notebook: {describe_exception(error)}") from None
    if values:
        notebook = parameterize_notebook(notebook, dict(values), kernel_name="python3", language="python")
        # papermill writes tuples and paths as texts
        cell = next(c for c in notebook.cells if "injected-parameters" in c.metadata.get("tags", []))
        cell.source = f"# Parameters\n{parameters_code(values, template.parameters)}\n"
        # the metadata of a notebook is JSON, which has no NaN
        notebook.metadata.papermill["parameters"] = json.loads(json.dumps(values), parse_constant=str)
    nbformat.write(notebook, output)
    return notebook


def _describe_error(error: Any) -> str:
    message = f"cell [{error.exec_count}] failed: {error.ename}: {error.evalue}"
    if not error.evalue:
        traceback_text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
        lines = re.findall(r"(?m)^-+> \d+ (.+)$", traceback_text)  # where each frame was, such as at `assert x`
        message = (
            f"cell [{error.exec_count}] failed: {': '.join([error.ename, *(line.strip() for line in lines[-1:])])}"
        )
    if error.ename == "StdinNotImplementedError":
        return f"{message} Notebooks are executed without input(); use a parameter instead"
    return message


def _mark_incomplete(output: Path, error: str) -> None:
    """Mark a notebook that was cut off, which papermill's metadata call completed."""
    import nbformat

    with contextlib.suppress(OSError, ValueError):
        notebook = nbformat.read(output, as_version=4)
        notebook.metadata.setdefault("papermill", {})["exception"] = True
        notice = nbformat.v4.new_markdown_cell(f"**This notebook is incomplete: {error}.**")
        notebook.cells.insert(0, notice)
        nbformat.write(notebook, output)


class Guard:
    """Ends the kernels of an execution that takes too long, or whose end is requested.

    On request it first stops the notebook's runs, so that a notebook that waits for them reaches its end; then it
    interrupts the kernel, as Ctrl-C does; then it kills the kernel and its child processes.

    Attributes:
        kernels: the process ids of its kernels, in order.
        ending: how the execution ends, once the guard ends it.
    """

    def __init__(
        self, journal: Journal, time_limit: float | None = None, stop: Callable[[], bool] | None = None
    ) -> None:
        self.journal, self.time_limit, self.stop = journal, time_limit, stop
        self.start_time = time.monotonic()
        self.kernels: list[int] = []
        self.ending: Ending | None = None
        self._finished = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Guard:
        if self.time_limit is not None or self.stop is not None:
            self._finished.clear()
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finished.set()
        if self._thread:
            self._thread.join()

    def _watch(self) -> None:
        while not self._finished.wait(POLL_SECONDS):
            if self.time_limit is not None and time.monotonic() - self.start_time > self.time_limit:
                self.ending = Ending("limit", f"exceeded its time limit of {self.time_limit:g} seconds")
                break
            if self.stop is not None and self.stop():
                self.ending = Ending("interrupted", "interrupted")
                break
        else:
            return
        if self.ending.kind == "interrupted" and _stop_live(self.journal) and self._finished.wait(2 * GRACE_SECONDS):
            return
        while not self.kernels:  # it is starting
            if self._finished.wait(POLL_SECONDS):
                return
        kernel = self.kernels[-1]
        for _ in range(2):
            with contextlib.suppress(OSError):
                os.kill(kernel, signal.SIGINT)
            if self._finished.wait(GRACE_SECONDS / 2):
                return
        _kill(kernel)


def _kill(pid: int) -> None:
    """Kill a process and its children, except those in another session, such as workers."""
    with contextlib.suppress(psutil.NoSuchProcess):
        kernel = psutil.Process(pid)
        for process in [*kernel.children(recursive=True), kernel]:
            with contextlib.suppress(OSError, psutil.NoSuchProcess):
                if process == kernel or not hasattr(os, "getsid") or os.getsid(process.pid) == os.getsid(pid):
                    process.kill()


def _stop_live(journal: Journal) -> bool:
    """Stop the runs of a notebook; returns whether any were running."""
    live = [f for f in map(RunFolder, journal.runs) if f.status().live]
    for folder in live:
        folder.send(Stop())
    return bool(live)


@contextlib.contextmanager
def _interruptible(journal: Journal, log: TextIO) -> Iterator[None]:
    """Within the ``with`` block the first Ctrl-C stops the notebook's runs, if any, instead of the notebook."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGINT) or signal.default_int_handler

    def interrupt(*_: Any) -> None:
        signal.signal(signal.SIGINT, previous)
        if not _stop_live(journal):
            raise KeyboardInterrupt
        with contextlib.suppress(RuntimeError):  # it may interrupt another print
            print("Stopping the run; press Ctrl-C again to stop the notebook.", file=log, flush=True)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
