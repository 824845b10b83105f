"""Templates executed by papermill, each ending as a notebook and a page beside the run that it made."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from lmkit.batch.pages import INSTALL, page
from lmkit.batch.templates import Template, check_parameters, described_experiment, read_template
from lmkit.errors import MissingPackage, TemplateError
from lmkit.runfolder import RunFolder, runs_root

RUN_TYPE = "application/vnd.lmkit.run+json"
"""Under this type a displayed run says where its folder is."""

KERNEL_STARTS = 3
"""How often a kernel is started at most: two that start at once may choose the same port."""


@dataclass(frozen=True)
class Execution:
    """An executed template.

    Attributes:
        notebook: the executed notebook; where a cell failed, with everything up to it.
        report: the notebook as a page; None where none could be made.
        runs: the folders of the runs that it displayed.
        state: completed; else the state of the first run that is not, or failed where a cell did.
        error: why it did not complete, in one readable message; empty where it did.
    """

    notebook: Path
    report: Path | None
    runs: list[Path]
    state: str
    error: str = ""


def run_template(
    template: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    typed: Mapping[str, str] | None = None,
    output: str | Path | None = None,
    runs: str | Path | None = None,
    log: TextIO | None = None,
) -> Execution:
    """Executes a template with papermill and makes the page beside it.

    What the notebook prints appears at once on ``log``. The executed notebook ends in the folder of the run that it
    made, as ``<template>.ipynb``, and the page beside it as ``report.html``. A cell that fails ends the execution: the
    notebook up to there is kept, and ``error`` says why.

    Args:
        template: the name of a known template, or the path of a notebook.
        parameters: parameter → value; where the template declares ``overrides``, also path → value, such as
            ``{"training.optimizer.lr": 0.1}``.
        typed: more of them, as typed on a command line: texts, which are read by the declared types.
        output: where to put the executed notebook instead.
        runs: where runs are kept (default: $LMKIT_RUNS or ./runs).
        log: where to print; default: the standard error.

    Raises:
        TemplateError: no such template; a parameter is unknown, of the wrong type or never read.
        ConfigError, DataError: the experiment that the parameters describe cannot be, or not with this data.
        MissingPackage: papermill, nbconvert or the framework is not installed.

    >>> run_template("train", {"epochs": 3, "training.optimizer.lr": 0.1}).state  # doctest: +SKIP
    'completed'
    """
    chosen = read_template(template)
    values = check_parameters(chosen, parameters or {}, typed)
    experiment = described_experiment(chosen, values)
    if experiment is not None:
        from lmkit.backends import require
        from lmkit.run import check_data

        require(experiment.framework)
        check_data(experiment, runs)
    _need_packages()
    root = runs_root(runs)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    notebook = root / ".notebooks" / f"{stamp}-{chosen.name}-{secrets.token_hex(3)}.ipynb"
    try:
        notebook.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TemplateError(
            f"no notebook can be kept under {str(root)!r}: {error.strerror}; name another folder"
        ) from None
    problem = _execute(chosen, values, notebook, root, log or sys.stderr)
    made = _runs_in(notebook)
    place = Path(output) if output else made[0] / f"{chosen.name}.ipynb" if len(made) == 1 else notebook
    if place != notebook:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(notebook, place)
    state, reason = _outcome(made)
    why = f"{place}: {problem or reason}" if problem or reason else ""
    in_run = len(made) == 1 and not output
    report = _page(place, place.with_name("report.html") if in_run else place.with_suffix(".html"))
    return Execution(place, report, made, "failed" if problem and state == "completed" else state, why)


def _need_packages() -> None:
    import importlib.util

    missing = [n for n in ("papermill", "nbconvert", "ipykernel") if importlib.util.find_spec(n) is None]
    if missing:
        raise MissingPackage(f"executing a template needs {', '.join(missing)}, which is not installed: {INSTALL}")


def _execute(template: Template, values: dict[str, Any], output: Path, root: Path, log: TextIO) -> str:
    """Executes a template; returns what went wrong, if anything."""
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    prepared = load_notebook_node(str(template.path))
    if values:
        prepared = parameterize_notebook(prepared, values, kernel_name="python3", language="python")
        # a notebook's metadata is JSON, which has no NaN
        prepared.metadata.papermill["parameters"] = json.loads(json.dumps(values), parse_constant=str)
    for attempt in range(1, KERNEL_STARTS + 1):
        try:
            papermill.execute_notebook(
                nbformat.from_dict(prepared),
                str(output).replace("{", "{{").replace("}", "}}"),  # papermill fills in braces
                kernel_name="python3",
                language="python",
                progress_bar=False,
                stdout_file=log,
                stderr_file=log,
                store_widget_state=False,
                kernel_manager_class=_kernel_manager({"LMKIT_RUNS": str(root), "LMKIT_COMMAND": shlex.join(sys.argv)}),
            )
            return ""
        except papermill.PapermillExecutionError as error:
            return f"cell [{error.exec_count}] failed: {error.ename}: {error.evalue}"
        except DeadKernelError:
            return "its kernel died while a cell ran; a run that it started goes on: `lmkit runs`"
        except RuntimeError as error:  # what nbclient raises where a kernel never answered
            if attempt == KERNEL_STARTS:
                return f"its kernel did not start, {KERNEL_STARTS} times: {error}"
    raise AssertionError("unreachable")


def _kernel_manager(environment: Mapping[str, str]) -> type:
    """A kernel manager that starts this very Python, whatever kernels are registered, with ``environment`` added."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class Kernels(KernelSpecManager):
        """Knows no kernel but ipykernel's own, whose Python is ``sys.executable``."""

        def _kernel_dirs_default(self) -> list[str]:
            return []

    class ThisPython(AsyncKernelManager):
        """Starts it."""

        def _kernel_spec_manager_default(self) -> KernelSpecManager:
            return Kernels(parent=self)

        async def _async_start_kernel(self, **arguments: Any) -> None:
            env = {**os.environ, **(arguments.pop("env", None) or {}), **environment}
            await super()._async_start_kernel(env=env, **arguments)

        start_kernel = _async_start_kernel

    return ThisPython


def _runs_in(notebook: Path) -> list[Path]:
    """The folders of the runs that an executed notebook displays, as they came."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError):
        return []
    shown = [o.get("data", {}).get(RUN_TYPE) for c in cells for o in c.get("outputs", [])]
    found = dict.fromkeys(Path(s["run"]) for s in shown if isinstance(s, dict) and "run" in s)
    return [p for p in found if (p / "experiment.yaml").is_file()]


def _outcome(made: list[Path]) -> tuple[str, str]:
    """The state of the first run that did not complete, and why: from the runs' folders, which alone know."""
    for path in made:
        status = RunFolder(path).status()
        if status.state != "completed":
            return status.state, f"the run {path.name} is {status.state}" + (
                f": {status.reason}" if status.reason else ""
            )
    return "completed", ""


def _page(notebook: Path, place: Path) -> Path | None:
    """The page of a notebook, where there is a notebook to make it of."""
    with contextlib.suppress(TemplateError):
        return page(notebook, place)
    return None
