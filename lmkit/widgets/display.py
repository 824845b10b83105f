"""How runs show themselves in a notebook: live where widgets are, as lines where none are, as a picture once ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lmkit.errors import RunFailed, RunNotFound
from lmkit.progress import INTERACTIVE as INTERACTIVE
from lmkit.progress import has_widgets as has_widgets
from lmkit.run import Run, Runs, attach

if TYPE_CHECKING:
    from lmkit.deploy.comparison import Comparison
    from lmkit.sweeping.sweep import Sweep
    from lmkit.widgets.comparison import LiveComparison
    from lmkit.widgets.monitor import Monitor


def monitor(*runs: Run | str | Path | Sequence[Run | str | Path], root: str | Path | None = None) -> Monitor:
    """Runs watched live, laid over each other, with the controls to steer them.

    Args:
        runs: runs or their names, or a sequence of them; none: the last one started.
        root: where runs are kept (default: $LMKIT_RUNS or ./runs).

    Raises:
        RunNotFound: there is no such run.

    >>> import lmkit as lk
    >>> lk.monitor("first", "second")  # doctest: +SKIP
    """
    from lmkit.widgets.monitor import Monitor

    named = [r for given in runs for r in ([given] if isinstance(given, Run | str | Path) else given)]
    if runs and not named:
        raise RunNotFound("given an empty sequence of runs, expected at least one")
    return Monitor([r if isinstance(r, Run) else attach(r, runs=root) for r in named or ["last"]])


def explore(compared: Comparison | Run | str | Path, *, runs: str | Path | None = None) -> LiveComparison:
    """A comparison as a live table and chart, to sort, filter and question, until it is closed in the page.

    Args:
        compared: what ``lk.compare`` returned; or a run or its name: then what was measured of it before.
        runs: where runs are kept (default: $LMKIT_RUNS or ./runs).

    Raises:
        RunNotFound: there is no such run.
        DataError: nothing was measured of it yet.

    >>> import lmkit as lk
    >>> lk.explore(lk.compare(run))  # doctest: +SKIP
    """
    from lmkit.deploy.comparison import Comparison, comparison
    from lmkit.widgets.comparison import LiveComparison

    found = compared if isinstance(compared, Comparison) else comparison(compared, runs=runs)
    return LiveComparison(found, stay=has_widgets())


def show_comparison(compared: Comparison) -> None:
    """Displays a comparison as the output of a cell; what IPython calls for one at a cell's end."""
    from IPython.display import display

    if compared.state == "running" and has_widgets():
        from lmkit.widgets.comparison import LiveComparison

        display(LiveComparison(compared))
        return
    from lmkit.widgets.output import comparison_outputs

    for data, metadata in comparison_outputs(compared.now if compared.state == "failed" else compared)[1:]:
        display(data, metadata=metadata, raw=True)


def show_sweep(sweep: Sweep) -> None:
    """Displays a sweep as the output of a cell; what IPython calls for one at a cell's end."""
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


def _follow(sweep: Sweep) -> None:
    """Prints what its driver tells, a line a trial, until it has ended."""
    log, offset = sweep.folder.log, sweep.folder.log.stat().st_size if sweep.folder.log.exists() else 0
    driven = True
    while driven:
        driven = sweep.folder.driver() is not None  # asked first: what is read then is all there is
        if log.exists():
            with log.open("rb") as file:
                file.seek(offset)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            offset += len(whole)
            print(whole.decode(errors="replace"), end="")
        if driven:
            time.sleep(0.2)


def show(shown: Run | Runs) -> None:
    """Displays runs as the output of a cell; what IPython calls for a run at a cell's end."""
    from IPython.display import display

    runs = (shown,) if isinstance(shown, Run) else shown
    live = [run for run in runs if run.status.live]
    if live and has_widgets():
        from lmkit.widgets.monitor import Monitor

        display(Monitor(runs))
        return
    for run in live:
        try:
            run.watch(until=("paused",))  # nobody is there who could wake it
        except RunFailed as error:  # whoever asks for its results is refused; here it is only looked at
            print(error)
    from lmkit.widgets.output import static_output

    data, metadata = static_output(runs)
    display(data, metadata=metadata, raw=True)
