"""Reports of runs, comparisons, sweeps and executed notebooks, as pages that render anywhere.

A report is an executed template; ``REPORTS`` holds one per type of source.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.batch.execute import run_template
from lmkit.batch.html import page
from lmkit.batch.pdf import pdf
from lmkit.deploy.compare.comparison import Comparison
from lmkit.exceptions import RunNotFound, TemplateError
from lmkit.run.resolve import resolve_run, resolve_runs
from lmkit.run.run import Run
from lmkit.sweeping.sweep import Sweep, find_sweep
from lmkit.system.files import copy_file, path_inside, refuse_link, write_text
from lmkit.system.privacy import VARIABLE, hide_folders, is_private, shorten_home
from lmkit.system.temporary import temporary_folder

if TYPE_CHECKING:
    from typing import TextIO

MAX_TRIAL_PAGES = 100
"""Trials of a sweep that have pages; of the others, the report links to the notebooks."""

ENDINGS = (".html", ".ipynb", ".pdf")


class ReportSource(NamedTuple):
    """The template of a report, its parameters, and the default folder of the page.

    A template whose page links to other files declares the parameter ``page``: the folder of the page. The trials of a
    sweep have a page each, which its report links to.
    """

    template: str
    parameters: dict[str, Any]
    folder: Path
    sweep: Sweep | None = None
    runs: tuple[Run, ...] = ()

    @property
    def folders(self) -> list[Path]:
        """The folders of the runs, of their data, and the current one."""
        sources = [Path(run.experiment.data.source).expanduser() for run in self.runs]
        data = [source.parent for source in sources if source.is_absolute()]
        return [self.folder.parent, *(run.path.parent for run in self.runs), *data, Path.cwd()]


def report(
    source: Any = "last",
    output: str | Path | None = None,
    *,
    interactive: bool = False,
    private: bool = False,
    explain: bool = False,
    runs: str | Path | None = None,
    log: TextIO | None = None,
) -> Path:
    """Write a report as one page that needs no network and no script.

    A run that is running, failed or stopped is reported as far as it got. Code is folded; figures are pictures, and
    with ``interactive`` plotly charts.

    Args:
        source: a run or its name; a list of runs; a comparison; a sweep, or its name unless a run has that name; or
            the path of an executed notebook.
        output: an .html, .ipynb or .pdf file (the last printed by Chromium); default: ``report.html`` in the folder of
            the source, or beside the notebook.
        interactive: whether the page holds plotly's script (4.8 MB), for charts with zoom and hover.
        private: whether to leave out folders and commands (default: only if LMKIT_PRIVATE is on). Secrets in commands
            and addresses are left out in any case, and the home folder is ``~``.
        explain: whether the report of a run shows what its model looks at; see ``lk.explain``, which runs the model.
        runs: the folder of runs (default: $LMKIT_RUNS or ./runs).
        log: the stream for output of the execution; default: none.

    Returns:
        The path of the report.

    Raises:
        RunNotFound: no run has that name.
        TemplateError: the notebook does not exist, or the report cannot be written.
        MissingPackage: papermill, nbconvert or, for a PDF, Chromium is not installed.

    >>> report("last", "cancer.html")  # doctest: +SKIP
    PosixPath('cancer.html')
    """
    executed = Path(source).expanduser() if isinstance(source, str | Path) and str(source).endswith(".ipynb") else None
    endings = tuple(e for e in ENDINGS if not (executed and e == ".ipynb"))
    if output is not None and Path(output).suffix not in endings:
        raise TemplateError(f"output: given {str(output)!r}, expected a file that ends in {' or '.join(endings)}")
    if executed:
        target = Path(output).expanduser() if output else executed.with_suffix(".html")
        return _convert(executed, target, interactive)
    report_source = _resolve(source, runs)
    if report_source.sweep:
        write_trial_pages(report_source.sweep)
    target = Path(output).expanduser() if output else report_source.folder / "report.html"
    parameters = dict(report_source.parameters)
    if "explain" in parameters:
        parameters["explain"] = explain
    if "page" in parameters:
        parameters["page"] = str(target.parent.absolute())
    # not beside the target, where a notebook of the same name may be
    with temporary_folder() as folder:
        notebook = Path(folder) / "report.ipynb"
        private = private or is_private()
        with _private() if private else contextlib.nullcontext():
            execution = run_template(
                report_source.template, parameters, output=notebook, runs=runs, log=log or io.StringIO()
            )
        if execution.error:
            raise TemplateError(f"the report could not be made: {execution.error}")
        _shorten_paths(execution.notebook, report_source.folders if private else [])
        return _convert(execution.notebook, target, interactive)


@contextlib.contextmanager
def _private() -> Iterator[None]:
    """Let kernels that start meanwhile leave out folders and commands."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "on"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _shorten_paths(notebook: Path, folders: Sequence[Path]) -> None:
    """Make paths in the texts of a notebook relative to the home folder, and to ``folders``."""

    def shorten(value: Any) -> Any:
        if isinstance(value, str):
            return shorten_home(hide_folders(value, folders))
        if isinstance(value, dict):
            return {key: inner if key == "image/png" else shorten(inner) for key, inner in value.items()}
        return [shorten(inner) for inner in value] if isinstance(value, list) else value

    write_text(notebook, json.dumps(shorten(json.loads(notebook.read_text(encoding="utf-8"))), indent=1))


def _convert(notebook: Path, target: Path, interactive: bool) -> Path:
    """Convert an executed notebook to the type of ``target``."""
    if target.suffix == ".html":
        return page(notebook, target, interactive=interactive)
    if target.suffix == ".pdf":
        with temporary_folder() as folder:
            return pdf(page(notebook, Path(folder) / f"{notebook.stem}.html"), target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return copy_file(notebook, target)
    except OSError as error:
        raise TemplateError(f"the report cannot be written to {str(target)!r}: {error.strerror}") from None


def _resolve(source: Any, runs: str | Path | None) -> ReportSource:
    for kind, convert in REPORTS.items():
        if isinstance(source, kind):
            return convert(source)
    if isinstance(source, str | Path):
        try:
            return _of_run(resolve_run(source, runs=runs))
        except RunNotFound:
            if sweep := find_sweep(source, runs):
                return _of_sweep(sweep)
            raise
    resolved = resolve_runs(source, runs=runs)
    return _of_run(resolved[0]) if len(resolved) == 1 else _of_runs(resolved)


def _of_run(run: Run) -> ReportSource:
    return ReportSource("report", {"which": str(run.path), "explain": False}, run.path, runs=(run,))


def _of_runs(runs: Sequence[Run]) -> ReportSource:
    return ReportSource("runs", {"which": [str(run.path) for run in runs]}, runs[0].path.parent, runs=tuple(runs))


def _of_comparison(compared: Comparison) -> ReportSource:
    folders = list(dict.fromkeys(v.folder for v in compared))
    names = list(dict.fromkeys(v.technique for v in compared))
    parameters = {"which": folders, "techniques": names, "saved": True}
    runs = tuple(resolve_run(Path(folder)) for folder in folders)
    target = path_inside(Path(folders[0]), "variants", "report.html").parent
    return ReportSource("compare", parameters, target, runs=runs)


def _of_sweep(sweep: Sweep) -> ReportSource:
    return ReportSource("sweep", {"which": str(sweep.path), "page": ""}, sweep.path, sweep, tuple(sweep.runs[:1]))


def write_trial_pages(sweep: Sweep) -> None:
    """Write the pages of the best trials, beside their notebooks, where they are missing or old."""
    pictures = sweep.folder.picture_folder
    for trial in [t for t in sweep.ranked()[:MAX_TRIAL_PAGES] if t.done and t.notebook]:
        assert trial.notebook is not None
        # a notebook that is no page, or that links lead to, is linked itself
        with contextlib.suppress(TemplateError, ValueError, OSError):
            relative = trial.notebook.relative_to(sweep.path)
            refuse_link(path_inside(sweep.path, *relative.parts))
            target = path_inside(sweep.path, *relative.with_suffix(".html").parts)
            if not target.exists() or target.stat().st_mtime < trial.notebook.stat().st_mtime:
                page(trial.notebook, target, folder=pictures)


REPORTS: dict[type, Callable[[Any], ReportSource]] = {
    Run: _of_run,
    Comparison: _of_comparison,
    Sweep: _of_sweep,
}
"""Type of the source → the function that resolves it."""
