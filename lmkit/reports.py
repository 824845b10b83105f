"""Reports: a run, or an executed notebook, as a page that renders anywhere."""

from __future__ import annotations

import io
import shutil
import tempfile
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

    Of a run that did not complete, or has not ended yet, it says what there is.

    Args:
        source: a run or its name; or the path of an executed notebook.
        output: where to, an .html or .ipynb file; default: ``report.html`` in the run's folder, or beside the notebook.
        runs: where runs are kept (default: $LMKIT_RUNS or ./runs).
        log: where to print what making it prints; default: nowhere.

    Returns:
        The path of what was written.

    Raises:
        RunNotFound: there is no such run.
        TemplateError: there is no such notebook, or it cannot be written there.
        MissingPackage: papermill or nbconvert is not installed.

    >>> report("last", "cancer.html")  # doctest: +SKIP
    PosixPath('cancer.html')
    """
    executed = Path(source) if not isinstance(source, Run) and str(source).endswith(".ipynb") else None
    endings = (".html",) if executed else (".html", ".ipynb")
    if output is not None and Path(output).suffix not in endings:
        raise TemplateError(f"output: given {str(output)!r}, expected a file that ends in {' or '.join(endings)}")
    if executed:
        return page(executed, output)
    run = source if isinstance(source, Run) else attach(source, runs=runs)
    target = Path(output) if output else run.path / "report.html"
    # made aside: beside the target may lie a notebook of the same name that is somebody's work
    with tempfile.TemporaryDirectory(prefix="lmkit-") as folder:
        notebook = Path(folder) / "report.ipynb"
        done = run_template("report", {"which": str(run.path)}, output=notebook, log=log or io.StringIO())
        if done.error:
            raise TemplateError(f"the report could not be made: {done.error}")
        made = done.notebook if target.suffix == ".ipynb" else done.report
        assert made is not None
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            return Path(shutil.move(made, target))
        except OSError as error:
            raise TemplateError(f"the report cannot be written to {str(target)!r}: {error.strerror}") from None
