"""Reports: a run, several, a comparison, a sweep or an executed notebook, as a page that renders anywhere.

A report is an executed template, one for each kind of thing that is reported; ``REPORTS`` names them.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.batch.execution import run_template
from lmkit.batch.pages import page
from lmkit.batch.printing import pdf
from lmkit.deploy.comparison import Comparison
from lmkit.errors import RunNotFound, TemplateError
from lmkit.run import Run, attach
from lmkit.sweeping.sweep import Sweep, named_sweep

if TYPE_CHECKING:
    from typing import TextIO

ENDINGS = (".html", ".ipynb", ".pdf")


class Subject(NamedTuple):
    """What is reported: by which template, with which parameters, and the folder in which the page is kept.

    A template whose page leads to other files declares the parameter ``page``: the folder that it will lie in.
    """

    template: str
    parameters: dict[str, Any]
    folder: Path


def report(
    source: Any = "last",
    output: str | Path | None = None,
    *,
    interactive: bool = False,
    runs: str | Path | None = None,
    log: TextIO | None = None,
) -> Path:
    """Writes what there is to say of something, as one page that needs no network and no script.

    Of a run that did not complete, or has not ended yet, it says what there is. Code is folded; the figures are
    pictures, and with ``interactive`` can be zoomed where scripts run.

    Args:
        source: a run or its name; several in a list; a comparison; a sweep, or its name where no run is called so; or
            the path of an executed notebook.
        output: where to, an .html, .ipynb or .pdf file (the last by Chromium, where there is one); default:
            ``report.html`` in the folder of what is reported, or beside the notebook.
        interactive: the page holds plotly's script (once, 4.8 MB), and its charts can be zoomed and pointed at.
        runs: where runs are kept (default: $LMKIT_RUNS or ./runs).
        log: where to print what making it prints; default: nowhere.

    Returns:
        The path of what was written.

    Raises:
        RunNotFound: there is no such run.
        TemplateError: there is no such notebook, or it cannot be written there.
        MissingPackage: papermill, nbconvert or, for a PDF, Chromium is not installed.

    >>> report("last", "cancer.html")  # doctest: +SKIP
    PosixPath('cancer.html')
    """
    executed = Path(source) if isinstance(source, str | Path) and str(source).endswith(".ipynb") else None
    endings = tuple(e for e in ENDINGS if not (executed and e == ".ipynb"))
    if output is not None and Path(output).suffix not in endings:
        raise TemplateError(f"output: given {str(output)!r}, expected a file that ends in {' or '.join(endings)}")
    if executed:
        target = Path(output) if output else executed.with_suffix(".html")
        return _finished(executed, target, interactive)
    subject = _subject(source, runs)
    target = Path(output) if output else subject.folder / "report.html"
    parameters = dict(subject.parameters)
    if "page" in parameters:
        parameters["page"] = str(target.parent.absolute())
    # made aside: beside the target may lie a notebook of the same name that is somebody's work
    with tempfile.TemporaryDirectory(prefix="lmkit-") as folder:
        notebook = Path(folder) / "report.ipynb"
        done = run_template(subject.template, parameters, output=notebook, runs=runs, log=log or io.StringIO())
        if done.error:
            raise TemplateError(f"the report could not be made: {done.error}")
        return _finished(done.notebook, target, interactive)


def _finished(notebook: Path, target: Path, interactive: bool) -> Path:
    """What was asked for, made of an executed notebook."""
    if target.suffix == ".html":
        return page(notebook, target, interactive=interactive)
    if target.suffix == ".pdf":
        with tempfile.TemporaryDirectory(prefix="lmkit-") as folder:
            return pdf(page(notebook, Path(folder) / f"{notebook.stem}.html"), target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copyfile(notebook, target))
    except OSError as error:
        raise TemplateError(f"the report cannot be written to {str(target)!r}: {error.strerror}") from None


def _subject(source: Any, runs: str | Path | None) -> Subject:
    for kind, subject in REPORTS.items():
        if isinstance(source, kind):
            return subject(source)
    if isinstance(source, str | Path):
        try:
            return _of_run(attach(source, runs=runs))
        except RunNotFound:
            if sweep := named_sweep(source, runs):
                return _of_sweep(sweep)
            raise
    if isinstance(source, Sequence):
        found = [r if isinstance(r, Run) else attach(r, runs=runs) for r in source]
        if not found:
            raise RunNotFound("given an empty list of runs, expected at least one")
        return _of_run(found[0]) if len(found) == 1 else _of_runs(found)
    raise TemplateError(f"report: given {type(source).__name__}, expected a run, several, a comparison or a sweep")


def _of_run(run: Run) -> Subject:
    return Subject("report", {"which": str(run.path)}, run.path)


def _of_runs(runs: Sequence[Run]) -> Subject:
    return Subject("runs", {"which": [str(run.path) for run in runs]}, runs[0].path.parent)


def _of_comparison(compared: Comparison) -> Subject:
    folders = list(dict.fromkeys(v.folder for v in compared))
    names = list(dict.fromkeys(v.technique for v in compared))
    parameters = {"which": folders, "techniques": names, "saved": True}
    return Subject("compare", parameters, Path(folders[0]) / "variants")


def _of_sweep(sweep: Sweep) -> Subject:
    return Subject("sweep", {"which": str(sweep.path), "page": ""}, sweep.path)


REPORTS: dict[type, Callable[[Any], Subject]] = {
    Run: _of_run,
    Comparison: _of_comparison,
    Sweep: _of_sweep,
}
"""Kind of thing → how it is reported."""
