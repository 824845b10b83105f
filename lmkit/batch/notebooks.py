"""One notebook executed by papermill: parameters go in, and however it ends, what there is of it is kept.

Whoever executes a notebook names a file, its *journal*, to which the notebook's kernel adds a line for each run that it
starts, each parameter that it reads, and each value that it records.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import psutil

from lmkit.batch.kernels import kernel_manager
from lmkit.batch.reading import GIVEN
from lmkit.batch.templates import Template
from lmkit.events import JOURNAL, JsonLines
from lmkit.runfolder import RunFolder

KERNEL_STARTS = 3
"""How often a kernel is started at most, where it dies or is silent before the first cell."""

GRACE_SECONDS = 5.0
"""How long a notebook that is to end may take over it, before its kernel is killed."""

LOOK_SECONDS = 0.1


class Ending(NamedTuple):
    """How an execution ended.

    Attributes:
        kind: completed; failed (a cell raised, or a parameter was not read); died (its kernel did); limit (it took too
            long); interrupted (somebody ended it).
        error: why it did not complete, in one readable message.
    """

    kind: str = "completed"
    error: str = ""


class Journal:
    """What a notebook did while it was executed.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def _of(self, key: str) -> list[Any]:
        return [line[key] for line in JsonLines(self.path).read(quiet=True)[0] if key in line]

    @property
    def runs(self) -> list[Path]:
        """The folders of the runs that it started, or went on with, as they came."""
        return [Path(p) for p in self._of("run")]

    @property
    def values(self) -> dict[str, Any]:
        """What it recorded."""
        return {name: value for values in self._of("values") for name, value in values.items()}

    @property
    def unread(self) -> list[str]:
        """The parameters that were given and never read; none where nobody watched."""
        given = {name for names in self._of("watched") for name in names}
        return sorted(given - set(self._of("read")))


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
) -> Ending:
    """Executes a template into ``output``.

    Args:
        template: what to execute.
        values: its parameters, checked.
        output: the executed notebook; it is written after each cell, and whatever happens.
        journal: where what it does is told.
        log: where to print what it prints.
        environment: variables of its kernel, besides those of this process.
        time_limit: seconds after which its kernel is ended.
        stop: asked now and then; once it says so, the notebook's runs are stopped and it is to come to its end.
    """
    import nbformat
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    prepared = load_notebook_node(str(template.path))
    if values:
        prepared = parameterize_notebook(prepared, dict(values), kernel_name="python3", language="python")
        # a notebook's metadata is JSON, which has no NaN
        prepared.metadata.papermill["parameters"] = json.loads(json.dumps(values), parse_constant=str)
    nbformat.write(prepared, output)
    journal.path.touch()
    given = journal.path.with_suffix(".parameters.json")
    given.write_text(json.dumps(values), encoding="utf-8")
    environment = {**environment, JOURNAL: str(journal.path), GIVEN: str(given)}
    guard = Guard(journal, time_limit, stop)
    try:
        ending = _run(prepared, output, journal, log, environment, guard, watch=bool(values))
    finally:
        given.unlink(missing_ok=True)
    if ending.kind in ("died", "limit", "interrupted"):
        _own_up(output, ending.error)
    if ending.kind == "completed" and (unread := journal.unread):
        return Ending("failed", f"{', '.join(unread)}: the notebook never read it, so it changed nothing")
    return ending


def _run(
    prepared: Any,
    output: Path,
    journal: Journal,
    log: TextIO,
    environment: Mapping[str, str],
    guard: Guard,
    watch: bool,
) -> Ending:
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError

    from lmkit.batch.engine import ENGINE

    answered = threading.Event()
    # what a kernel says of itself is not for who reads the log
    arguments = ["--log-level=50", *(["--ext=lmkit.batch.reading"] if watch else [])]
    for attempt in range(1, KERNEL_STARTS + 1):
        try:
            with kernel_manager(environment, guard.kernels) as manager, guard, _interruptible(journal, log):
                papermill.execute_notebook(
                    nbformat.from_dict(prepared),
                    str(output).replace("{", "{{").replace("}", "}}"),  # papermill fills in braces
                    engine_name=ENGINE,
                    kernel_name="python3",
                    language="python",
                    progress_bar=False,
                    stdout_file=log,
                    stderr_file=log,
                    store_widget_state=False,
                    kernel_manager_class=manager,
                    extra_arguments=arguments,
                    on_notebook_start=lambda **_: answered.set(),
                )
            return guard.ending or Ending()
        except papermill.PapermillExecutionError as error:
            return guard.ending or Ending("failed", _in_words(error))
        except DeadKernelError:
            return guard.ending or Ending("died", "its kernel died while a cell ran")
        except RuntimeError as error:
            if guard.ending:
                return guard.ending
            if answered.is_set():
                raise
            if attempt == KERNEL_STARTS:
                return Ending("died", f"its kernel did not start, {KERNEL_STARTS} times: {error}")
        except KeyboardInterrupt:
            return Ending("interrupted", "it was interrupted")
    raise AssertionError("unreachable")


def _in_words(error: Any) -> str:
    said = f"cell [{error.exec_count}] failed: {error.ename}: {error.evalue}"
    if error.ename == "StdinNotImplementedError":
        return f"{said} Nobody is there to answer input(); make what it asks for a parameter"
    return said


def _own_up(output: Path, error: str) -> None:
    """Makes a notebook that was cut off say so: papermill's own account of it is that all is well."""
    import nbformat

    with contextlib.suppress(OSError, ValueError):
        notebook = nbformat.read(output, as_version=4)
        notebook.metadata.setdefault("papermill", {})["exception"] = True
        said = nbformat.v4.new_markdown_cell(f"**This notebook did not come to its end: {error}.**")
        notebook.cells.insert(0, said)
        nbformat.write(notebook, output)


class Guard:
    """Ends the kernels of an execution that takes too long, or that somebody asks to end.

    First whoever asks has the notebook's runs stopped, where it waits for some, and lets it go on to its end; then its
    kernel is interrupted, as by Ctrl-C; then it is killed, with what it started.

    Attributes:
        kernels: the processes of its kernels, as they come.
        ending: how it ends, once that is decided here.
    """

    def __init__(
        self, journal: Journal, time_limit: float | None = None, stop: Callable[[], bool] | None = None
    ) -> None:
        self.journal, self.time_limit, self.stop = journal, time_limit, stop
        self.began = time.monotonic()
        self.kernels: list[int] = []
        self.ending: Ending | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Guard:
        if self.time_limit is not None or self.stop is not None:
            self._over.clear()
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread:
            self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            if self.time_limit is not None and time.monotonic() - self.began > self.time_limit:
                self.ending = Ending("limit", f"it took longer than its time limit of {self.time_limit:g} seconds")
                break
            if self.stop is not None and self.stop():
                self.ending = Ending("interrupted", "it was interrupted")
                break
        else:
            return
        if self.ending.kind == "interrupted" and _stop_live(self.journal) and self._over.wait(2 * GRACE_SECONDS):
            return
        while not self.kernels:  # it is about to start
            if self._over.wait(LOOK_SECONDS):
                return
        kernel = self.kernels[-1]
        for tried in range(2):
            with contextlib.suppress(OSError):
                os.kill(kernel, signal.SIGINT)
            if self._over.wait(GRACE_SECONDS / 2) or tried:
                break
        if not self._over.is_set():
            _kill(kernel)


def _kill(pid: int) -> None:
    """Kills a process and what it started, but for what has a session of its own, as workers have."""
    with contextlib.suppress(psutil.NoSuchProcess):
        kernel = psutil.Process(pid)
        for process in [*kernel.children(recursive=True), kernel]:
            with contextlib.suppress(OSError, psutil.NoSuchProcess):
                if process == kernel or not hasattr(os, "getsid") or os.getsid(process.pid) == os.getsid(pid):
                    process.kill()


def _stop_live(journal: Journal) -> bool:
    """Asks the runs of a notebook to stop; whether there were any."""
    live = [f for f in map(RunFolder, journal.runs) if f.status().live]
    for folder in live:
        folder.command("stop")
    return bool(live)


@contextlib.contextmanager
def _interruptible(journal: Journal, log: TextIO) -> Iterator[None]:
    """Meanwhile the first Ctrl-C stops the runs that the notebook started, if any, and spares the notebook."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT) or signal.default_int_handler

    def interrupt(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, before)
        if not _stop_live(journal):
            raise KeyboardInterrupt
        with contextlib.suppress(RuntimeError):  # it may have come in the middle of another print
            print("stopping the run; Ctrl-C again ends the notebook too", file=log, flush=True)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
