"""Reports: a run, or an executed notebook, as a page that renders anywhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from lmkit.batch.execution import run_template
from lmkit.batch.pages import page
from lmkit.errors import TemplateError
from lmkit.run import Run, attach

if TYPE_CHECKING:
    from typing import TextIO


def report(
    source: Run | str | Path = "last",
    output: str | Path | None = None,
    *,
    runs: str | Path | None = None,
    log: TextIO | None = None,
) -> Path:
    """Writes what there is to say of a run, or of an executed notebook, as one HTML page without scripts.

    Args:
        source: a run or its name; or the path of an executed notebook.
        output: where to, an .html or .ipynb file; default: ``report.html`` in the run's folder, or beside the notebook.
        runs: where runs are kept (default: $LMKIT_RUNS or ./runs).
        log: where to print what making it prints; default: the standard error.

    Returns:
        The path of what was written.

    Raises:
        RunNotFound: there is no such run.
        TemplateError: there is no such notebook, or it cannot be written there.
        MissingPackage: papermill or nbconvert is not installed.

    >>> report("last", "cancer.html")  # doctest: +SKIP
    PosixPath('cancer.html')
    """
    if not isinstance(source, Run) and str(source).endswith(".ipynb"):
        return page(source, output)
    run = source if isinstance(source, Run) else attach(source, runs=runs)
    target = Path(output) if output else run.path / "report.html"
    if target.suffix not in (".html", ".ipynb"):
        raise TemplateError(f"output: given {str(target)!r}, expected a file that ends in .html or .ipynb")
    notebook = target.with_suffix(".ipynb")
    done = run_template("report", {"run": str(run.path)}, output=notebook, log=log)
    if done.error:
        raise TemplateError(f"the report could not be made: {done.error}")
    if target.suffix == ".ipynb":
        return done.notebook
    assert done.report is not None
    return Path(shutil.move(done.report, target)) if done.report != target else target
