"""The display of runs, comparisons and sweeps in a notebook: live widgets, printed lines, or static outputs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lmkit.exceptions import LmkitError, RunFailed, RunNotFound
from lmkit.run.attach import attach
from lmkit.run.run import Run
from lmkit.run.runs import Runs
from lmkit.system.environment import INTERACTIVE as INTERACTIVE
from lmkit.system.environment import has_widgets as has_widgets
from lmkit.system.reading import open_file

if TYPE_CHECKING:
    from lmkit.analysis.curve import LearningCurve
    from lmkit.analysis.errors import Errors
    from lmkit.deploy.compare.comparison import Comparison
    from lmkit.doctor.diagnosis import Diagnosis
    from lmkit.explanations.explanation import Explanation
    from lmkit.sweeping.sweep import Sweep
    from lmkit.widgets.comparison import LiveComparison
    from lmkit.widgets.explanation import ExplanationView
    from lmkit.widgets.monitor import Monitor


def monitor(*runs: Run | str | Path | Sequence[Run | str | Path], root: str | Path | None = None) -> Monitor:
    """Show runs live in shared charts, with controls to pause, stop and change them.

    Args:
        runs: runs or their names, or a sequence of them; none: the run started last.
        root: the folder of the runs (default: $LMKIT_RUNS or ./runs).

    Raises:
        RunNotFound: no such run exists.

    >>> import lmkit as lk
    >>> lk.monitor("first", "second")  # doctest: +SKIP
    """
    from lmkit.widgets.monitor import Monitor

    handles = [r for item in runs for r in ([item] if isinstance(item, Run | str | Path) else item)]
    if runs and not handles:
        raise RunNotFound("given an empty sequence of runs, expected at least one")
    return Monitor([r if isinstance(r, Run) else attach(r, runs=root) for r in handles or ["last"]])


def explore(
    compared: Comparison | Explanation | Run | str | Path, *, runs: str | Path | None = None
) -> LiveComparison | ExplanationView:
    """Show a comparison as a live table and chart that can be sorted and filtered, until closed in the page.

    An explanation is shown with a menu of its methods and rows.

    Args:
        compared: the result of ``lk.compare`` or ``lk.explain``; or a run or its name, for its stored measurements.
        runs: the folder of the runs (default: $LMKIT_RUNS or ./runs).

    Raises:
        RunNotFound: no such run exists.
        DataError: the run has no measurements yet.

    >>> import lmkit as lk
    >>> lk.explore(lk.compare(run))  # doctest: +SKIP
    """
    from lmkit.deploy.compare.comparison import Comparison, comparison
    from lmkit.explanations.explanation import Explanation
    from lmkit.widgets.comparison import LiveComparison
    from lmkit.widgets.explanation import ExplanationView

    if isinstance(compared, Explanation):
        return ExplanationView(compared)
    measured = compared if isinstance(compared, Comparison) else comparison(compared, runs=runs)
    return LiveComparison(measured, stay=has_widgets())


def show_comparison(compared: Comparison) -> None:
    """Display a comparison as the output of a cell; IPython calls it at the end of a cell."""
    from IPython.display import display

    if compared.state == "running" and has_widgets():
        from lmkit.widgets.comparison import LiveComparison

        display(LiveComparison(compared))
        return
    from lmkit.widgets.output import comparison_outputs

    for data, metadata in comparison_outputs(compared.now if compared.state == "failed" else compared)[1:]:
        display(data, metadata=metadata, raw=True)


def show_explanation(explanation: Explanation) -> None:
    """Display an explanation as the output of a cell; IPython calls it at the end of a cell."""
    from IPython.display import display

    from lmkit.widgets.output import explanation_outputs

    for data, metadata in explanation_outputs(explanation):
        if any(data.values()):
            display(data, metadata=metadata, raw=True)


def show_sweep(sweep: Sweep) -> None:
    """Display a sweep as the output of a cell; IPython calls it at the end of a cell."""
    from IPython.display import display

    if sweep.folder.driver() is not None:
        if has_widgets():
            from lmkit.widgets.sweep import LiveSweep

            display(LiveSweep(sweep))
            return
        _follow(sweep)
    from lmkit.widgets.output import sweep_outputs

    for data, metadata in sweep_outputs(sweep):
        if any(data.values()):
            display(data, metadata=metadata, raw=True)


def show_learning_curve(curve: LearningCurve) -> None:
    """Display a learning curve as the output of a cell: its sweep while that is running, then its chart."""
    from IPython.display import display

    if curve.sweep.folder.driver() is not None:
        if has_widgets():
            from lmkit.widgets.sweep import LiveSweep

            display(LiveSweep(curve.sweep))
            return
        _follow(curve.sweep)
    try:
        display(curve.chart())
    except LmkitError as error:  # too few trials have completed
        display({"text/plain": str(error)}, raw=True)


def show_errors(errors: Errors) -> None:
    """Display the errors of a run as the output of a cell: the advice, the chart and the tables.

    They are separate outputs because HTML in the same output hides the picture where scripts do not run.
    """
    from IPython.display import display

    display({"text/plain": errors.advice}, raw=True)
    display(errors.chart())
    for table in errors.tables:
        display(table)


def show_diagnosis(diagnosis: Diagnosis) -> None:
    """Display a diagnosis as the output of a cell, with a button at each finding that has a change to apply."""
    from IPython.display import display

    if has_widgets() and any(finding.change for finding in diagnosis.findings):
        from lmkit.widgets.diagnosis import DiagnosisView

        display(DiagnosisView(diagnosis))
        return
    display({"text/html": diagnosis._repr_html_(), "text/plain": str(diagnosis)}, raw=True)


def _follow(sweep: Sweep) -> None:
    """Print the driver's log, one line per trial, until the sweep has ended."""
    log, offset = sweep.folder.log, sweep.folder.log.stat().st_size if sweep.folder.log.exists() else 0
    running = True
    while running:
        running = sweep.folder.driver() is not None  # checked first, so that the last read is complete
        if log.exists():
            with open_file(log) as file:
                file.seek(offset)
                data = file.read()
            lines = data[: data.rfind(b"\n") + 1]
            offset += len(lines)
            print(lines.decode(errors="replace"), end="")
        if running:
            time.sleep(0.2)


def show(run_or_runs: Run | Runs) -> None:
    """Display runs as the output of a cell; IPython calls it at the end of a cell."""
    from IPython.display import display

    runs = (run_or_runs,) if isinstance(run_or_runs, Run) else run_or_runs
    if isinstance(run_or_runs, Run) and run_or_runs.request:
        print(run_or_runs.request)
        run_or_runs.request = ""
        return
    live = [run for run in runs if run.status.live]
    if live and has_widgets():
        from lmkit.widgets.monitor import Monitor

        display(Monitor(runs))
        return
    for run in live:
        try:
            run.watch(until=("paused",))  # without widgets it cannot be resumed here
        except RunFailed as error:  # displaying a failed run is not an error
            print(error)
    from lmkit.widgets.output import run_outputs

    for data, metadata in run_outputs(runs):
        if any(data.values()):
            display(data, metadata=metadata, raw=True)
    if has_widgets():
        from lmkit.widgets.elements import FormView
        from lmkit.widgets.trust import run_trust_button

        for button in filter(None, map(run_trust_button, runs)):
            display(FormView(button.widget, "code of a run"))
